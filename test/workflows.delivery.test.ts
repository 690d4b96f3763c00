/**
 * User webhooks from order to receiver (prediction-agent specification, 8 number 37, 10.2, 10.3): real Temporal, real store,
 * receivers on the loopback interface that the settings allow.
 */
import { Webhook } from 'standardwebhooks'
import { describe, expect, test, vi } from 'vitest'
import { deliveryIdOf } from '../contracts/names.ts'
import { recordHistory } from './support/in-process.ts'
import { hang, json, type ScriptedServer, send } from './support/scripted-server.ts'
import { deliveryDelaysMs, secrets, webhookStage as stage } from './support/webhook-stage.ts'

const deadline = { timeout: 30_000, interval: 25 }
function statusesIn(receiver: ScriptedServer): string[] {
  return receiver.calls.map(({ body }) => (JSON.parse(body) as { status: string }).status).toSorted()
}

test('start and completed arrive with the prediction as it was then, signed with every secret', async () => {
  const { create, receiver, client, deliveries } = await stage()
  const id = await create()
  await vi.waitFor(() => expect(statusesIn(receiver)).toEqual(['processing', 'succeeded']), deadline)
  for (const call of receiver.calls) {
    const headers = call.headers as Record<string, string>
    for (const secret of secrets) new Webhook(secret).verify(call.body, headers)
    expect(() => new Webhook(secrets[0]!).verify(`${call.body} `, headers)).toThrow()
    expect(headers['webhook-id']).not.toContain('.')
    expect(headers['webhook-signature']!.split(' ')).toHaveLength(2)
    expect(JSON.parse(call.body)).toMatchObject({
      id,
      urls: { get: `https://api.test/v1/predictions/${id}` },
    })
  }
  const completed = receiver.calls.find(({ body }) => body.includes('"succeeded"'))!
  expect(JSON.parse(completed.body)).toMatchObject({ output: { outputs: [7] }, error: null })
  await vi.waitFor(async () => {
    expect(await deliveries(id)).toMatchObject([
      { event: 'start', status: 'succeeded', attempts: 1 },
      { event: 'completed', status: 'succeeded', attempts: 1 },
    ])
  }, deadline)
  const [first] = await deliveries(id)
  await recordHistory(client, deliveryIdOf(first!.id), 'delivery')
})

test('the filter selects the events', async () => {
  const { create, receiver, deliveries } = await stage()
  const id = await create({ webhook_events_filter: ['completed'] })
  await vi.waitFor(() => expect(statusesIn(receiver)).toEqual(['succeeded']), deadline)
  expect(await deliveries(id)).toHaveLength(1)
})

test('37: a receiver that answers 500 and then hangs delays nothing and gets the event later under the same id', async () => {
  const { create, receiver, lifecycle, client, deliveries } = await stage()
  receiver.script(send('', 500), hang, send('', 204))
  const id = await create({ webhook_events_filter: ['completed'] })
  expect((await lifecycle.service.waitFor(id, 20_000))?.status).toBe('succeeded')
  await vi.waitFor(() => expect(receiver.calls).toHaveLength(3), deadline)
  expect(new Set(receiver.calls.map(({ headers }) => headers['webhook-id'])).size).toBe(1)
  expect(new Set(receiver.calls.map(({ body }) => body)).size).toBe(1)
  for (const call of receiver.calls) {
    new Webhook(secrets[1]!).verify(call.body, call.headers as Record<string, string>)
  }
  await vi.waitFor(async () => {
    expect(await deliveries(id)).toMatchObject([{ status: 'succeeded', attempts: 3 }])
  }, deadline)
  const [delivery] = await deliveries(id)
  await recordHistory(client, deliveryIdOf(delivery!.id), 'delivery-retried')
})

test('37: a receiver that is down delays neither record nor cancel', async () => {
  const { create, receiver, lifecycle, platform, deliveries } = await stage()
  await receiver.close()
  platform.script(hang)
  const id = await create()
  await vi.waitFor(() => expect(platform.calls).toHaveLength(1), deadline)
  await lifecycle.service.cancel(id)
  expect((await lifecycle.service.waitFor(id, 0))?.status).toBe('canceled')
  await vi.waitFor(() => expect(platform.calls[0]!.aborted).toBe(true), { timeout: 5_000, interval: 25 })
  await vi.waitFor(async () => {
    const all = await deliveries(id)
    expect(all.map(({ event }) => event)).toEqual(['start', 'completed'])
    for (const one of all) expect(one).toMatchObject({ status: 'failed', attempts: deliveryDelaysMs.length })
    expect(all[0]!.last_error).toContain('ECONNREFUSED')
  }, deadline)
})

test('Retry-After is honoured', async () => {
  const { create, receiver } = await stage()
  receiver.script(send('', 429, { 'retry-after': '1' }), send('', 200))
  await create({ webhook_events_filter: ['completed'] })
  await vi.waitFor(() => expect(receiver.calls).toHaveLength(2), deadline)
  expect(receiver.calls[1]!.at - receiver.calls[0]!.at).toBeGreaterThanOrEqual(990)
})

test('a redirect is a failure and never followed', async () => {
  const { create, receiver, deliveries } = await stage({ deliveryDelaysMs: [0] })
  receiver.script(send('', 302, { location: `${receiver.origin}/elsewhere` }))
  const id = await create({ webhook_events_filter: ['completed'] })
  await vi.waitFor(async () => {
    expect(await deliveries(id)).toMatchObject([
      { status: 'failed', last_error: 'the receiver answered 302' },
    ])
  }, deadline)
  expect(receiver.calls.map(({ path }) => path)).toEqual(['/hook'])
})

test('a name that rebinds to a private address after its check gets no connection', async () => {
  const seen: string[] = []
  const { create, receiver, deliveries } = await stage({
    webhooks: {
      secrets: [{ reveal: () => secrets[0]! }],
      rules: { allowHttp: true, allowCidrs: [], allowPorts: [] },
      timeoutMs: 1_000,
      // Public when it is asked about at submission, ours afterwards.
      resolve: async (name) => {
        seen.push(name)
        return [{ address: seen.length === 1 ? '93.184.216.34' : '127.0.0.1', family: 4 }]
      },
    },
  })
  const id = await create({ webhook: 'http://rebinding.test/hook', webhook_events_filter: ['completed'] })
  await vi.waitFor(async () => {
    expect(await deliveries(id)).toMatchObject([
      { status: 'failed', attempts: 1, last_error: 'the name leads to an address that is not public' },
    ])
  }, deadline)
  expect(seen).toEqual(['rebinding.test', 'rebinding.test'])
  expect(receiver.connections).toBe(0)
})

test('a huge answer is cut off and does not count against the delivery', async () => {
  const { create, receiver, deliveries } = await stage()
  receiver.script(send('x'.repeat(5_000_000), 200))
  const id = await create({ webhook_events_filter: ['completed'] })
  await vi.waitFor(
    async () => expect(await deliveries(id)).toMatchObject([{ status: 'succeeded' }]),
    deadline,
  )
})

test('a large output is left out of the event, which stays below 20 kB and names where to read it', async () => {
  const { create, receiver, platform } = await stage()
  platform.script(json({ model_name: 'm', outputs: ['y'.repeat(50_000)] }))
  const id = await create({ webhook_events_filter: ['completed'] })
  await vi.waitFor(() => expect(receiver.calls).toHaveLength(1), deadline)
  expect(receiver.calls[0]!.body.length).toBeLessThan(20_000)
  expect(JSON.parse(receiver.calls[0]!.body)).toMatchObject({ id, status: 'succeeded', output: null })
})

describe('orders that are refused with 400, naming the field', () => {
  test.each([
    ['webhook', { webhook: 17 }],
    ['webhook', { webhook: 'not a url' }],
    ['webhook', { webhook: 'ftp://example.com/x' }],
    ['webhook', { webhook: 'http://10.0.0.1/x' }],
    ['webhook', { webhook: 'http://user:pw@example.com/' }],
    ['webhook', { webhook: 'https://example.com:8443/' }],
    ['webhook_events_filter', { webhook_events_filter: ['finished'] }],
    ['webhook_events_filter', { webhook_events_filter: [] }],
  ])('%s: %o', async (field, body) => {
    const { app, receiver, platform } = await stage({ worker: false })
    const answer = await app.request('/v1/predictions', {
      method: 'POST',
      body: JSON.stringify({ version: 'm', input: {}, webhook: `${receiver.origin}/`, ...body }),
    })
    expect(answer.status).toBe(400)
    expect(await answer.text()).toContain(field)
    expect(platform.calls).toEqual([])
  })
})
