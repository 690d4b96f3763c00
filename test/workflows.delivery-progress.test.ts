/**
 * Webhook events while a prediction runs (prediction-agent specification, 10.2): a provider's output and logs as its polls
 * bring them, in order, `completed` last. Real Temporal, real store, the Replicate twin.
 */
import Replicate from 'replicate'
import { Webhook } from 'standardwebhooks'
import { expect, onTestFinished, test, vi } from 'vitest'
import { serveHttp } from '../api/server.ts'
import { deliveryIdOf } from '../contracts/names.ts'
import type { Scenario } from '../dev/twins/job.ts'
import { startReplicateTwin } from '../dev/twins/replicate.ts'
import { recordHistory } from './support/in-process.ts'
import { type ScriptedServer, type Step, send } from './support/scripted-server.ts'
import { secrets, webhookStage } from './support/webhook-stage.ts'

const deadline = { timeout: 45_000, interval: 50 }
const chunks = ['one ', 'two ', 'three ', 'four']
/** Long enough for some polls, which begin 0.5 to 1 s apart. */
const slow: Scenario = { runMs: 5_000, chunks, logs: 'loading\n' }

async function stage() {
  const twin = await startReplicateTwin({ apiKey: 'k' })
  onTestFinished(() => twin.close())
  const settings = { platform: 'replicate', address: twin.createUrl, modelId: 'v1' } as const
  const apiKey = { reveal: () => 'k' }
  const parts = await webhookStage({ settings: (_, timeoutMs) => ({ ...settings, apiKey, timeoutMs }) })
  const order = (scenario: Scenario, more = {}) =>
    parts.create({ input: { prompt: 'p', twin: scenario }, ...more })
  return { ...parts, twin, order }
}

interface Told {
  status: string
  output: unknown
  logs: string
  completed_at: string | null
}

function told({ calls }: ScriptedServer): Told[] {
  return calls.map(({ body }) => JSON.parse(body) as Told)
}

test('output and logs arrive while the job runs, signed, in order, the end last', async () => {
  const { order, receiver, deliveries, app } = await stage()
  const id = await order(slow)
  await vi.waitFor(() => expect(told(receiver).at(-1)?.status).toBe('succeeded'), deadline)
  for (const { headers, body } of receiver.calls) {
    new Webhook(secrets[0]!).verify(body, headers as Record<string, string>)
  }
  const bodies = told(receiver)
  expect(bodies[0]).toMatchObject({ status: 'processing', output: null, logs: '' })
  expect(bodies.at(-1)).toMatchObject({ status: 'succeeded', output: chunks, logs: 'loading\n' })
  expect(bodies.filter(({ status }) => status === 'succeeded')).toHaveLength(1)
  for (const body of bodies.slice(0, -1)) expect(body.completed_at).toBeNull()
  expect(bodies.some(({ status, logs }) => status === 'processing' && logs === 'loading\n')).toBe(true)
  const lengths = bodies.flatMap(({ output }) => (Array.isArray(output) ? [output.length] : []))
  expect(lengths.length).toBeGreaterThan(1)
  expect(lengths).toEqual(lengths.toSorted((one, other) => one - other))

  const sent = await deliveries(id)
  expect(sent[0]!.event).toBe('start')
  expect(sent.at(-1)!.event).toBe('completed')
  expect(sent.map((one) => one.id)).toEqual(receiver.calls.map(({ headers }) => headers['webhook-id']))
  const outputs = sent.filter(({ event }) => event === 'output') as unknown as { created_at: string }[]
  expect(outputs.length).toBeGreaterThan(0)
  const times = outputs.map((one) => Date.parse(one.created_at))
  for (const [n, time] of times.entries()) if (n > 0) expect(time - times[n - 1]!).toBeGreaterThanOrEqual(500)
  expect(await (await app.request(`/v1/predictions/${id}`)).json()).toMatchObject({ logs: 'loading\n' })
})

test('a slow receiver gets every event in order and delays neither the job nor its record', async () => {
  const { order, receiver, lifecycle, deliveries, client } = await stage()
  const lazy: Step = (call, response, request) => {
    setTimeout(() => send('', 200)(call, response, request), 700)
  }
  receiver.script(lazy)
  const id = await order({ runMs: 100, output: 'done', logs: 'said\n' })
  expect((await lifecycle.service.waitFor(id, 30_000))?.status).toBe('succeeded')
  await vi.waitFor(() => expect(told(receiver).at(-1)?.status).toBe('succeeded'), deadline)
  const sent = await deliveries(id)
  expect(sent.map((one) => one.id)).toEqual(receiver.calls.map(({ headers }) => headers['webhook-id']))
  await recordHistory(client, deliveryIdOf(sent.at(-1)!.id), 'delivery-in-turn')
})

test('a receiver that fails the first events gets the last one all the same, and the first later', async () => {
  const { order, receiver, deliveries } = await stage()
  receiver.script(send('', 500), send('', 200))
  const id = await order({ output: 'done' })
  await vi.waitFor(async () => {
    const all = await deliveries(id)
    expect(all.map(({ event, status }) => `${event} ${status}`)).toEqual([
      'start succeeded',
      'completed succeeded',
    ])
    expect(all[0]!.attempts).toBe(2)
  }, deadline)
})

test('logs of a failed job are shown, and the filter leaves events out', async () => {
  const { order, receiver, deliveries } = await stage()
  const id = await order(
    { runMs: 1_000, end: 'failed', error: 'no memory', logs: 'trying\n' },
    { webhook_events_filter: ['logs', 'completed'] },
  )
  await vi.waitFor(() => expect(told(receiver).at(-1)?.status).toBe('failed'), deadline)
  expect(told(receiver).at(-1)).toMatchObject({
    logs: 'trying\n',
    output: null,
    error: expect.stringContaining('no memory'),
  })
  expect((await deliveries(id)).map(({ event }) => event)).toEqual(['logs', 'completed'])
})

test('partial output is in the prediction and in its stream while the job runs', async () => {
  const { order, app } = await stage()
  const server = await serveHttp(app, { host: '127.0.0.1', port: 0 })
  onTestFinished(() => server.close())
  const id = await order(slow)
  const events = app.request(`/v1/predictions/${id}/events?only=output,error,done`)
  const replicate = new Replicate({ auth: 'any', baseUrl: `${server.url}/v1` })
  await vi.waitFor(async () => {
    const { status, output } = await replicate.predictions.get(id)
    expect(status).toBe('processing')
    expect(output).toEqual(chunks.slice(0, (output as string[]).length))
  }, deadline)
  const text = await (await events).text()
  const frames = text.split('\n\n').filter((frame) => frame.startsWith('id'))
  expect(frames.map((frame) => /data: ?(.*)/.exec(frame)?.[1])).toEqual([...chunks, '{}'])
  expect(frames.map((frame) => /^id: (\d+)/.exec(frame)?.[1])).toEqual(['3', '4', '5', '6', '7'])
})
