/**
 * The mirror: every record also reaches an external record service, in order, and no inference is repeated or held up for
 * it. Numbers are those of the required behaviours (prediction-agent specification, section 8).
 */
import { expect, onTestFinished, test, vi } from 'vitest'
import { outcomeResponse } from '../api/outcome.ts'
import { flightIdOf, guardIdOf } from '../contracts/names.ts'
import { recordHistory, startInProcess } from './support/in-process.ts'
import { recordService } from './support/record-service.ts'
import {
  json,
  resetAfterRequest,
  type ScriptedServer,
  type Step,
  startScriptedServer,
} from './support/scripted-server.ts'

const deadline = { timeout: 30_000, interval: 25 }

/** Takes everything, as the external service would. */
const taken: Step = json({ id: 'taken' })

async function scriptedRecords(first: Step = taken): Promise<ScriptedServer> {
  const server = await startScriptedServer(first)
  onTestFinished(() => server.close())
  return server
}

async function mirrored(records: ScriptedServer, more: Parameters<typeof startInProcess>[0] = {}) {
  return startInProcess({
    ...more,
    mirror: { address: records.address, apiKey: 'key-9', tryTimeoutMs: 2_000 },
  })
}

/** What the service was told of one record: `create`, then the statuses. */
function told(records: ScriptedServer, id: string): string[] {
  return records.calls.flatMap(({ method, body }) => {
    const task = JSON.parse(body) as { id: string; status: string }
    return task.id === id ? [method === 'POST' ? 'create' : task.status] : []
  })
}

test('an async prediction is told in order: created, running, succeeded, with key, UID and full bodies', async () => {
  const records = await scriptedRecords()
  const { lifecycle, request, platform, client } = await mirrored(records)
  const { id } = await lifecycle.service.submit(request(7, { uid: 'user-1' }))
  expect((await lifecycle.service.waitFor(id, 20_000))?.status).toBe('succeeded')
  await vi.waitFor(() => expect(told(records, id)).toEqual(['create', 'running', 'succeeded']), deadline)
  const [create, , end] = records.calls
  expect(create).toMatchObject({ method: 'POST', path: '/task', headers: { apikey: 'key-9', uid: 'user-1' } })
  expect(JSON.parse(create!.body)).toEqual({
    id,
    model_name: 'm',
    model_version: '',
    queue_num: 0,
    status: 'pending',
  })
  expect(end).toMatchObject({ method: 'PUT', path: '/task', headers: { apikey: 'key-9' } })
  expect(JSON.parse(end!.body)).toMatchObject({
    id,
    status: 'succeeded',
    outputs: { outputs: [7] },
    error_info: '',
    queue_id: flightIdOf(id),
    database_only: false,
  })
  // The creation came before the platform was called.
  expect(create!.at).toBeLessThanOrEqual(platform.calls[0]!.at)
  await recordHistory(client, flightIdOf(id), 'flight-mirrored')
})

test('a sync prediction is told in order, and its creation before the platform is called', async () => {
  const records = await scriptedRecords()
  const { lifecycle, request, platform } = await mirrored(records)
  const record = await lifecycle.service.predict(request(1))
  await vi.waitFor(() => expect(told(records, record.id)).toEqual(['create', 'succeeded']), deadline)
  expect(records.calls[0]!.at).toBeLessThanOrEqual(platform.calls[0]!.at)
})

test('a sync prediction whose creation is not taken is refused with 503, its record failed, nothing called', async () => {
  const records = await scriptedRecords(json({ error: 'down' }, 500))
  const { lifecycle, request, platform, store } = await mirrored(records)
  const refused = await lifecycle.service.predict(request(1)).catch((error: unknown) => error)
  expect(refused).toMatchObject({ code: 'store_unavailable' })
  expect(platform.calls).toEqual([])
  const [record] = (await store.list({ limit: 1 })).items
  expect(record?.status).toBe('failed')
  expect(outcomeResponse(record!).status).toBe(503)
  records.script(taken)
  await vi.waitFor(() => expect(told(records, record!.id).at(-1)).toBe('failed'), deadline)
})

test('8: an outage after a good prediction costs no second call, and the record ends succeeded there too', async () => {
  const records = await scriptedRecords()
  const { lifecycle, request, platform, client } = await mirrored(records)
  // Away from the first update on; the durations are those of a 10-minute outage, shortened by the settings.
  records.script(taken, json({ error: 'away' }, 503))
  const { id } = await lifecycle.service.submit(request(1))
  expect((await lifecycle.service.waitFor(id, 20_000))?.status).toBe('succeeded')
  await vi.waitFor(() => expect(told(records, id).length).toBeGreaterThan(8), deadline)
  records.script(taken)
  const seen = records.calls.length
  const flight = client.workflow.getHandle(flightIdOf(id))
  await vi.waitFor(async () => expect((await flight.describe()).status.name).toBe('COMPLETED'), deadline)
  const afterwards = records.calls
    .slice(seen)
    .map(({ body }) => (JSON.parse(body) as { status: string }).status)
  expect(afterwards).toEqual(['running', 'succeeded'])
  expect(platform.calls).toHaveLength(1)
  await recordHistory(client, flightIdOf(id), 'flight-mirror-outage')
})

test('work begins only once the creation was taken', async () => {
  const records = await scriptedRecords(json({ error: 'away' }, 503))
  const { lifecycle, request, platform } = await mirrored(records)
  const { id } = await lifecycle.service.submit(request(1))
  await vi.waitFor(() => expect(records.calls.length).toBeGreaterThan(2), deadline)
  expect(platform.calls).toEqual([])
  expect((await lifecycle.service.waitFor(id, 0))?.status).toBe('pending')
  records.script(taken)
  expect((await lifecycle.service.waitFor(id, 20_000))?.status).toBe('succeeded')
  expect(platform.calls).toHaveLength(1)
})

test('a creation refused for good ends the prediction failed, without a call', async () => {
  const records = await scriptedRecords(json({ error: 'another model' }, 409))
  const { lifecycle, request, platform } = await mirrored(records)
  const { id } = await lifecycle.service.submit(request(1))
  expect(await lifecycle.service.waitFor(id, 20_000)).toMatchObject({
    status: 'failed',
    errorInfo: 'task queue failed',
  })
  expect(platform.calls).toEqual([])
})

test('9: a 500, then a reset, then a 200 ends in success, each try with the full body', async () => {
  const records = await scriptedRecords()
  const { lifecycle, request } = await mirrored(records)
  const failures: [Step, ...Step[]] = [json({}, 500), resetAfterRequest, taken]
  records.script(...failures, ...failures, ...failures)
  const { id } = await lifecycle.service.submit(request(5))
  expect((await lifecycle.service.waitFor(id, 20_000))?.status).toBe('succeeded')
  await vi.waitFor(() => expect(records.calls).toHaveLength(9), deadline)
  const bodies = records.calls.map(({ body }) => body)
  for (const at of [0, 3, 6]) expect(new Set(bodies.slice(at, at + 3)).size, `from try ${at}`).toBe(1)
  expect(told(records, id)).toEqual(['create', 'running', 'succeeded'].flatMap((word) => [word, word, word]))
})

test('a 429 is obeyed, and a record that has expired there is kept up to date in its database only', async () => {
  const records = await scriptedRecords()
  const { lifecycle, request } = await mirrored(records)
  records.script(
    json({}, 429, { 'retry-after': '1' }),
    taken,
    taken,
    json({ error: 'redis: nil' }, 400),
    taken,
  )
  const { id } = await lifecycle.service.submit(request(5))
  expect((await lifecycle.service.waitFor(id, 20_000))?.status).toBe('succeeded')
  await vi.waitFor(() => expect(records.calls).toHaveLength(5), deadline)
  expect(records.calls[1]!.at - records.calls[0]!.at).toBeGreaterThanOrEqual(990)
  expect(records.calls.slice(3).map(({ body }) => JSON.parse(body))).toMatchObject([
    { status: 'succeeded', database_only: false },
    { status: 'succeeded', database_only: true },
  ])
})

test('what a dead process had not told is told by its guard', async () => {
  const records = await scriptedRecords()
  const { lifecycle, store, request, client, processId } = await mirrored(records)
  records.script(taken, json({}, 503))
  const record = await lifecycle.service.predict(request(1))
  expect(record.status).toBe('succeeded')
  await lifecycle.drain()
  await store.leaveProcess(processId)
  const before = records.calls.length
  records.script(taken)
  await vi.waitFor(() => expect(records.calls.length).toBeGreaterThan(before), deadline)
  const guard = client.workflow.getHandle(guardIdOf(processId))
  await vi.waitFor(async () => expect((await guard.describe()).status.name).toBe('COMPLETED'), deadline)
  expect(told(records, record.id).at(-1)).toBe('succeeded')
  await recordHistory(client, guardIdOf(processId), 'guard-mirror')
})

// Three messages each, with a lease before and a note after each of them: minutes on a busy machine.
test('17: 1000 instant tasks all end there with the right status and a queue_id', async () => {
  const { url, store: external } = await recordService({ apiKey: 'k' })
  const { lifecycle, request } = await startInProcess({
    mirror: { address: new URL(url).host, apiKey: 'k' },
    concurrency: 32,
    maxQueueSize: 2_000,
  })
  const ids = await Promise.all(
    Array.from({ length: 1_000 }, async (_, n) => (await lifecycle.service.submit(request(n))).id),
  )
  await Promise.all(ids.map((id) => lifecycle.service.waitFor(id, 150_000)))
  for (const id of ids) {
    await vi.waitFor(async () => {
      expect(await external.get(id)).toMatchObject({ status: 'succeeded', queueId: flightIdOf(id) })
    }, deadline)
  }
}, 180_000)
