/** Flights in lane `call`, from submission to a terminal record: real Temporal, real store, scripted platform. */
import { expect, onTestFinished, test, vi } from 'vitest'
import { flightIdOf, guardIdOf, guardQueueOf } from '../contracts/names.ts'
import { makeHeldCalls } from '../records/held-calls.ts'
import { openSqliteStore } from '../records/sqlite.ts'
import { recordHistory, startInProcess } from './support/in-process.ts'
import { after, hang, json } from './support/scripted-server.ts'

const deadline = { timeout: 30_000, interval: 25 }

test('an accepted prediction is called once and its record ends succeeded', async () => {
  const { lifecycle, platform, request, client, ended } = await startInProcess()
  const { id } = await lifecycle.service.submit(request(7))
  const record = await lifecycle.service.waitFor(id, 20_000)
  expect(record).toMatchObject({ id, status: 'succeeded', queueId: flightIdOf(id), attempts: 1 })
  expect(JSON.parse(record!.outputs)).toMatchObject({ outputs: [7] })
  expect(platform.calls).toHaveLength(1)
  expect(ended).toMatchObject([{ modelName: 'm', platform: 'v2', status: 'succeeded' }])
  expect(ended[0]!.endedAtMs).toBeGreaterThanOrEqual(ended[0]!.startedAtMs)
  await recordHistory(client, flightIdOf(id), 'flight-single')
})

test('predictions accepted together share a flight, and each gets its own answer', async () => {
  const { lifecycle, client, request } = await startInProcess()
  const answers = await Promise.all(
    Array.from({ length: 50 }, (_, n) => lifecycle.service.submit(request(n))),
  )
  const records = await Promise.all(answers.map(({ id }) => lifecycle.service.waitFor(id, 30_000)))
  expect(records.map((record) => record?.status)).toEqual(answers.map(() => 'succeeded'))
  expect(records.map((record) => JSON.parse(record!.outputs).outputs[0])).toEqual(answers.map((_, n) => n))
  const flights = new Set(answers.map(({ id }) => flightIdOf(id)))
  expect(flights.size).toBeLessThan(20)
  for (const flight of flights) {
    await vi.waitFor(async () => {
      expect((await client.workflow.getHandle(flight).describe()).status.name).toBe('COMPLETED')
    }, deadline)
  }
})

test('one 503 and then a 200 ends succeeded, after a durable wait', async () => {
  const { lifecycle, platform, request, client } = await startInProcess()
  platform.script(json({ error: 'busy' }, 503), json({ outputs: [1] }))
  const { id } = await lifecycle.service.submit(request(1))
  const record = await lifecycle.service.waitFor(id, 30_000)
  expect(record?.status).toBe('succeeded')
  expect(platform.calls).toHaveLength(2)
  await recordHistory(client, flightIdOf(id), 'flight-retry')
})

test('a 400 is tried once and its message is in the record', async () => {
  const { lifecycle, platform, request } = await startInProcess()
  platform.script(json({ error: 'no such feature' }, 400))
  const { id } = await lifecycle.service.submit(request(1))
  const record = await lifecycle.service.waitFor(id, 30_000)
  expect(record).toMatchObject({ status: 'failed', errorCode: 'platform_rejected' })
  expect(record?.errorInfo).toContain('no such feature')
  expect(platform.calls).toHaveLength(1)
})

test('cancelling one running prediction closes its connection and leaves the others alone', async () => {
  const { lifecycle, platform, request } = await startInProcess()
  platform.script((call, response, incoming) => {
    const slow = call.body.includes('[0]')
    const step = slow ? hang : after(1_500, json({ outputs: ['done'] }))
    step(call, response, incoming)
  })
  const answers = await Promise.all([0, 1, 2].map((n) => lifecycle.service.submit(request(n))))
  await vi.waitFor(() => expect(platform.calls).toHaveLength(3), deadline)
  const canceled = answers[0]!.id
  expect(await lifecycle.service.cancel(canceled)).toEqual({ outcome: 'canceled' })
  expect((await lifecycle.service.waitFor(canceled, 0))?.status).toBe('canceled')
  const call = platform.calls.find(({ body }) => body.includes('[0]'))!
  await vi.waitFor(() => expect(call.aborted).toBe(true), { timeout: 5_000, interval: 25 })
  for (const { id } of answers.slice(1)) {
    expect((await lifecycle.service.waitFor(id, 20_000))?.status).toBe('succeeded')
  }
})

test('a prediction over its budget fails as a timeout and reaches the platform exactly once', async () => {
  const { lifecycle, platform, request } = await startInProcess({ taskTimeoutMs: 1_500 })
  platform.script(hang)
  const { id } = await lifecycle.service.submit(request(1))
  const record = await lifecycle.service.waitFor(id, 20_000)
  expect(record).toMatchObject({ status: 'failed', errorCode: 'prediction_timeout' })
  expect(record?.errorInfo).toBe('status 20000: predict timeout')
  expect(platform.calls).toHaveLength(1)
})

test('a paused queue accepts and starts nothing; unpause lets everything go', async () => {
  const { lifecycle, platform, request, store, queue, client } = await startInProcess()
  expect(await store.pause(queue)).toBe(true)
  const answers = await Promise.all([1, 2, 3].map((n) => lifecycle.service.submit(request(n))))
  await vi.waitFor(async () => expect((await store.count(queue)).waiting).toBe(3), deadline)
  expect(platform.calls).toHaveLength(0)
  expect(await store.unpause(queue)).toBe(true)
  lifecycle.service.wakeQueue()
  for (const { id } of answers) {
    expect((await lifecycle.service.waitFor(id, 30_000))?.status).toBe('succeeded')
  }
  await recordHistory(client, flightIdOf(answers[0]!.id), 'flight-paused')
})

test('an operator who cancels a flight in the Temporal UI ends every open record as canceled', async () => {
  const { lifecycle, platform, request, client } = await startInProcess()
  platform.script(hang)
  const answers = await Promise.all([1, 2].map((n) => lifecycle.service.submit(request(n))))
  await vi.waitFor(() => expect(platform.calls).toHaveLength(2), deadline)
  const flights = new Set(answers.map(({ id }) => flightIdOf(id)))
  for (const flight of flights) await client.workflow.getHandle(flight).cancel()
  for (const { id } of answers) {
    expect((await lifecycle.service.waitFor(id, 20_000))?.status).toBe('canceled')
  }
  for (const flight of flights) {
    await vi.waitFor(async () => {
      expect((await client.workflow.getHandle(flight).describe()).status.name).toBe('CANCELLED')
    }, deadline)
  }
  await vi.waitFor(() => expect(platform.calls.every((call) => call.aborted)).toBe(true), deadline)
  await recordHistory(client, flightIdOf(answers[0]!.id), 'flight-cancelled')
})

test('the guard of a process that leaves in order ends by itself', async () => {
  const { lifecycle, store, client, processId, request } = await startInProcess()
  await lifecycle.service.predict(request(1))
  await lifecycle.drain()
  await store.leaveProcess(processId)
  const guard = client.workflow.getHandle(guardIdOf(processId))
  await vi.waitFor(async () => expect((await guard.describe()).status.name).toBe('COMPLETED'), deadline)
  await recordHistory(client, guardIdOf(processId), 'guard-orderly')
})

test('a sync prediction is called by the API itself, without a workflow', async () => {
  const { lifecycle, platform, request } = await startInProcess()
  const record = await lifecycle.service.predict(request(5))
  expect(record).toMatchObject({ status: 'succeeded', queueId: '' })
  expect(platform.calls).toHaveLength(1)
})

test('the retention workflow deletes terminal records that are old enough, and nothing that is open', async () => {
  const { lifecycle, platform, request, client, store, taskQueue } = await startInProcess({ retentionMs: 1 })
  const { id: old } = await lifecycle.service.submit(request(1))
  await lifecycle.service.waitFor(old, 20_000)
  platform.script(hang)
  const { id: open } = await lifecycle.service.submit(request(2))
  await vi.waitFor(() => expect(platform.calls).toHaveLength(2), deadline)
  const options = { taskQueue: guardQueueOf(taskQueue), workflowId: `retention-${taskQueue}`, args: [] }
  expect(await client.workflow.execute('retention', options)).toBe(1)
  expect(await store.get(old)).toBeUndefined()
  expect((await store.get(open))?.status).toBe('running')
  await recordHistory(client, options.workflowId, 'retention')
  await lifecycle.service.cancel(open)
})

// PR-14
test('a name of 512 bytes and long fairness keys fly beside 199 others, and so does the second group', async () => {
  const { lifecycle, store, request, client } = await startInProcess({ concurrency: 64 })
  const { target } = request(0)
  const named = (name: string) => ({ ...request(1), target: { ...target, name } })
  const longest = `${'模'.repeat(170)}ab`
  expect(Buffer.byteLength(longest)).toBe(512)
  for (let group = 0; group < 2; group++) {
    const names = [longest, ...Array.from({ length: 199 }, (_, n) => `model-${group}-${n}`)]
    const answers = await Promise.all(names.map((name) => lifecycle.service.submit(named(name))))
    for (const { id } of answers) {
      expect(await lifecycle.service.waitFor(id, 60_000)).toMatchObject({ status: 'succeeded' })
    }
    const flight = client.workflow.getHandle(flightIdOf(answers[0]!.id))
    const described = await flight.describe()
    const shown = described.typedSearchAttributes.getAll().find(({ key }) => key.name === 'ModelName')
    expect(shown?.value).toContain(longest)
  }
  const { id } = await lifecycle.service.submit({ ...request(1), uid: 'u'.repeat(255) })
  expect(await lifecycle.service.waitFor(id, 60_000)).toMatchObject({ status: 'succeeded' })
  expect(await store.count(id)).toEqual({ waiting: 0, running: 0 })
})

// PR-08
test('a guard that starts on a process that closes already waits for its end and starts what it left', async () => {
  const parts = await startInProcess({ worker: false })
  const { lifecycle, store, client, dataDir, processId, queue, request, startWorker } = parts
  await store.openProcess(processId)
  await store.pause(queue)
  const { id } = await lifecycle.service.submit(request(1))
  await store.closeProcess(processId)
  const other = await openSqliteStore({ dataDir })
  await other.registerProcess('worker-2', 'worker')
  await other.openProcess('worker-2')
  const held = makeHeldCalls(other, 'worker-2')
  const workers = await startWorker({ store: other, held, processId: 'worker-2' })
  onTestFinished(async () => {
    await workers.stop()
    held.close()
    await other.close()
  })
  const guard = client.workflow.getHandle(guardIdOf(processId))
  await vi.waitFor(async () => {
    const { raw } = await guard.describe()
    expect(raw.pendingActivities?.map(({ activityType }) => activityType?.name)).toEqual(['watchProcess'])
  }, deadline)
  await store.leaveProcess(processId)
  await guard.result()
  await other.unpause(queue)
  await vi.waitFor(async () => expect((await other.get(id))?.status).toBe('succeeded'), deadline)
  await recordHistory(client, guardIdOf(processId), 'guard-unstarted')
})
