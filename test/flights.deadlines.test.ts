/**
 * `Cancel-After` from acceptance to the end of the record (prediction-agent specification, 8 number 41, 10.1): real
 * Temporal, real store, scripted platforms and provider twins.
 */
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { flightIdOf } from '../contracts/names.ts'
import { startReplicateTwin } from '../dev/twins/replicate.ts'
import { startRunpodTwin } from '../dev/twins/runpod.ts'
import type { TwinCall } from '../dev/twins/server.ts'
import type { StoredPrediction } from '../records/store.ts'
import { type InProcess, recordHistory, startInProcess } from './support/in-process.ts'
import { hang } from './support/scripted-server.ts'
import { webhookStage } from './support/webhook-stage.ts'

const deadline = { timeout: 30_000, interval: 25 }

/** The record once it has ended; when that was, seen from its acceptance. */
async function ended({ lifecycle }: InProcess, id: string): Promise<StoredPrediction & { afterMs: number }> {
  const record = (await lifecycle.service.waitFor(id, 20_000))!
  expect(record.endedAt, record.status).not.toBeNull()
  return { ...record, afterMs: Date.parse(record.endedAt!) - Date.parse(record.createdAt) }
}

async function shown({ app }: InProcess, id: string): Promise<Record<string, unknown>> {
  return (await (await app.request(`/v1/predictions/${id}`)).json()) as Record<string, unknown>
}

test('what waits in a paused queue is aborted at its deadline, its caller is told, its flight ends', async () => {
  const stage = await webhookStage()
  const { store, queue, receiver, client } = stage
  await store.pause(queue)
  const answer = await stage.app.request('/v1/predictions', {
    method: 'POST',
    headers: { 'cancel-after': '5s' },
    body: JSON.stringify({ version: 'm', input: {}, webhook: `${receiver.origin}/hook` }),
  })
  expect(answer.status).toBe(201)
  const { id } = (await answer.json()) as { id: string }
  const record = await ended(stage, id)
  expect(record).toMatchObject({ status: 'canceled', errorCode: 'prediction_aborted' })
  expect(record.afterMs).toBeGreaterThanOrEqual(5_000)
  const end = {
    status: 'canceled',
    code: 'prediction_aborted',
    error: expect.stringContaining('the queue is paused'),
  }
  expect(await shown(stage, id)).toMatchObject({
    ...end,
    deadline: new Date(Date.parse(record.createdAt) + 5_000).toISOString(),
    started_at: null,
  })
  await vi.waitFor(() => expect(receiver.calls).toHaveLength(1), deadline)
  expect(JSON.parse(receiver.calls[0]!.body)).toMatchObject({ id, ...end })
  expect(await client.workflow.getHandle(flightIdOf(id)).result()).toMatchObject({ canceled: 1 })
  expect(stage.platform.calls).toEqual([])
})

test('what finds no place is aborted at its deadline while others run on', async () => {
  const stage = await webhookStage({ concurrency: 1 })
  const { service } = stage.lifecycle
  stage.platform.script(hang)
  const { id: running } = await service.submit(stage.request(1))
  await vi.waitFor(() => expect(stage.platform.calls).toHaveLength(1), deadline)
  const webhook = { url: `${stage.receiver.origin}/hook`, events: ['completed'] as const, base: 'http://api' }
  const { id } = await service.submit(stage.request(2, { cancelAfterMs: 500, webhook }))
  expect(await ended(stage, id)).toMatchObject({ status: 'canceled', errorCode: 'prediction_aborted' })
  await vi.waitFor(() => expect(stage.receiver.calls).toHaveLength(1), deadline)
  expect(await service.waitFor(running, 0)).toMatchObject({ status: 'running' })
  await service.cancel(running)
})

test('a running call is canceled at its deadline and its connection closed; others of the flight go on', async () => {
  const stage = await startInProcess()
  const { service } = stage.lifecycle
  stage.platform.script(hang)
  const [dated, other] = await Promise.all([
    service.submit(stage.request(1, { cancelAfterMs: 3_000 })),
    service.submit(stage.request(2)),
  ])
  expect(flightIdOf(dated.id)).toBe(flightIdOf(other.id))
  const record = await ended(stage, dated.id)
  expect(record).toMatchObject({ status: 'canceled', errorCode: 'prediction_canceled' })
  expect(record.afterMs).toBeGreaterThanOrEqual(3_000)
  expect(await shown(stage, dated.id)).toMatchObject({
    status: 'canceled',
    code: 'prediction_canceled',
    error: 'the deadline passed while it ran',
  })
  await vi.waitFor(
    () => expect(stage.platform.calls.filter(({ aborted }) => aborted)).toHaveLength(1),
    deadline,
  )
  expect(await service.waitFor(other.id, 0)).toMatchObject({ status: 'running' })
  await service.cancel(other.id)
  await recordHistory(stage.client, flightIdOf(dated.id), 'flight-deadline')
})

test('a prediction that ends in time leaves no deadline behind: its flight ends with it', async () => {
  const stage = await startInProcess()
  const { id } = await stage.lifecycle.service.submit(stage.request(1, { cancelAfterMs: 3_600_000 }))
  expect(await ended(stage, id)).toMatchObject({ status: 'succeeded' })
  expect(await stage.client.workflow.getHandle(flightIdOf(id)).result()).toMatchObject({ succeeded: 1 })
  await recordHistory(stage.client, flightIdOf(id), 'flight-deadline-unused')
})

test('Cancel-After on the inherited route makes a workflow of the call, and 409 of its end', async () => {
  const stage = await startInProcess()
  stage.platform.script(hang)
  const answer = await stage.app.request('/v1/predict', {
    method: 'POST',
    headers: { 'cancel-after': '5' },
    body: JSON.stringify({ model_name: 'm', inputs: { inputs: [1] } }),
  })
  expect(answer.status).toBe(409)
  const { id } = (await answer.json()) as { id: string }
  expect(await stage.store.get(id)).toMatchObject({ status: 'canceled', queueId: flightIdOf(id) })
})

const apiKey = { reveal: () => 'k' }
const scenario = { end: 'never' } as const
const providers = [
  {
    name: 'replicate' as const,
    async start() {
      const twin = await startReplicateTwin({ apiKey: 'k', scenario })
      const own = { platform: 'replicate', address: twin.createUrl } as const
      return { twin, own }
    },
    /** The deadline the job was created with. */
    secondsOf: ({ headers }: TwinCall) => Number.parseInt(String(headers['cancel-after']), 10),
  },
  {
    name: 'runpod' as const,
    async start() {
      const twin = await startRunpodTwin({ apiKey: 'k', scenario })
      const own = { platform: 'runpod', address: twin.baseUrl } as const
      return { twin, own }
    },
    secondsOf: ({ body }: TwinCall) => (JSON.parse(body) as { policy: { ttl: number } }).policy.ttl / 1000,
  },
]

describe.each(providers)('on $name', ({ start, secondsOf }) => {
  async function stage() {
    const { twin, own } = await start()
    onTestFinished(() => twin.close())
    const parts = await startInProcess({
      settings: (_, timeoutMs) => ({ ...own, modelId: 'm1', apiKey, timeoutMs }),
    })
    return { ...parts, twin }
  }

  test('the job is canceled upstream at the deadline, and was created with one of its own just beyond', async () => {
    const parts = await stage()
    const { twin, store } = parts
    const { id } = await parts.lifecycle.service.submit(parts.request(1, { cancelAfterMs: 4_000 }))
    expect(await ended(parts, id)).toMatchObject({ status: 'canceled', errorCode: 'prediction_canceled' })
    await vi.waitFor(() => expect(twin.jobs[0]?.phase).toBe('canceled'), deadline)
    expect(twin.callsOf('cancel')).toHaveLength(1)
    await vi.waitFor(async () => expect(await store.cancelsDue([id])).toEqual([]), deadline)
    const seconds = secondsOf([...twin.callsOf('create'), ...twin.callsOf('run')][0]!)
    // The deadline, a little for us to act on it, and the margin of every job.
    expect(seconds).toBeGreaterThan(4)
    expect(seconds).toBeLessThanOrEqual(16)
  })
})
