/** The twin of Replicate is true to the original: its official client works with it, and its webhooks verify. */
import Replicate from 'replicate'
import { Webhook } from 'standardwebhooks'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { type ReplicateTwinOptions, startReplicateTwin } from '../dev/twins/replicate.ts'
import { json, startScriptedServer } from './support/scripted-server.ts'

const version = 'acme/cat:22c920af07cfd46d7540374b367953829c68167c395448c8e2a39597480a2d09'

async function stage(options: ReplicateTwinOptions = {}) {
  const twin = await startReplicateTwin({ apiKey: 'r8_key', ...options })
  onTestFinished(() => twin.close())
  const client = new Replicate({ auth: 'r8_key', baseUrl: twin.baseUrl, useFileOutput: false })
  return { twin, client }
}

async function receiver() {
  const server = await startScriptedServer(json({}))
  onTestFinished(() => server.close())
  return server
}

describe('the official client', () => {
  test('runs a version, waiting on the creation', async () => {
    const { client, twin } = await stage({ scenario: { output: ['https://files/1.png'] } })
    expect(await client.run(version, { input: { prompt: 'a cat' } })).toEqual(['https://files/1.png'])
    expect(twin.callsOf('create')[0]?.headers.prefer).toBe('wait')
  })

  test('runs a model by its name, polling', async () => {
    const { client, twin } = await stage({ scenario: { runMs: 100, output: 'done' } })
    const seen: string[] = []
    const progress = ({ status }: { status: string }) => void seen.push(status)
    const options = { input: {}, wait: { mode: 'poll', interval: 20 } } as const
    expect(await client.run('acme/cat', options, progress)).toBe('done')
    expect(twin.calls[0]?.path).toBe('/v1/models/acme/cat/predictions')
    expect(seen[0]).toBe('starting')
    expect(seen).toContain('processing')
    expect(seen.at(-1)).toBe('succeeded')
  })

  test('is told that a model failed', async () => {
    const { client } = await stage({ scenario: { end: 'failed', error: 'out of memory' } })
    await expect(client.run(version, { input: {} })).rejects.toThrow('Prediction failed: out of memory')
  })

  test('streams', async () => {
    const { client } = await stage({ scenario: { chunks: ['Hel', 'lo\n', 'you'], runMs: 50 } })
    const events: string[] = []
    for await (const { event, data } of client.stream(version, { input: {} })) events.push(`${event} ${data}`)
    expect(events).toEqual(['output Hel', 'output lo\n', 'output you', 'done {}'])
  })

  test('cancels', async () => {
    const { client } = await stage({ scenario: { end: 'never' } })
    const { id } = await client.predictions.create({ version: version.slice(9), input: {} })
    expect((await client.predictions.cancel(id)).status).toBe('canceled')
    expect((await client.predictions.get(id)).status).toBe('canceled')
  })

  test('pages through all predictions, newest first', async () => {
    const { client, twin } = await stage({ createsPerMinute: 1000 })
    for (let at = 0; at < 105; at++) await client.predictions.create({ version: 'v', input: { at } })
    const pages: number[] = []
    const ids: string[] = []
    for await (const page of client.paginate(client.predictions.list)) {
      pages.push(page.length)
      ids.push(...page.map(({ id }) => id))
    }
    expect(pages).toEqual([100, 5])
    expect(ids).toEqual(twin.jobs.map(({ id }) => id).reverse())
  })

  test('is refused without the key', async () => {
    const { twin } = await stage()
    const client = new Replicate({ auth: 'wrong', baseUrl: twin.baseUrl })
    await expect(client.predictions.list()).rejects.toThrow('401')
  })
})

async function create(origin: string, body: unknown, headers: Record<string, string> = {}) {
  const response = await fetch(`${origin}/v1/predictions`, {
    method: 'POST',
    headers: { authorization: 'Bearer r8_key', ...headers },
    body: JSON.stringify(body),
  })
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}

test('a creation that waits is 201 when done and 202 when not', async () => {
  const { twin } = await stage()
  const done = await create(twin.origin, { version: 'v', input: {} }, { prefer: 'wait=5' })
  expect([done.status, done.body.status]).toEqual([201, 'succeeded'])
  const input = { twin: { end: 'never' } }
  const open = await create(twin.origin, { version: 'v', input }, { prefer: 'wait=1' })
  expect([open.status, open.body.status]).toEqual([202, 'processing'])
})

test('the request itself may say what becomes of it', async () => {
  const { twin } = await stage()
  const input = { prompt: 'x', twin: { output: { n: 1 }, omit: ['metrics'], replace: { logs: 'hello' } } }
  const { body } = await create(twin.origin, { version: 'v', input }, { prefer: 'wait' })
  expect(body).toMatchObject({ input: { prompt: 'x' }, output: { n: 1 }, logs: 'hello' })
  expect(body).not.toHaveProperty('metrics')
})

test.each([
  ['no input', { version: 'v' }, {}],
  ['no version', { input: {} }, {}],
  ['an unknown scenario', { version: 'v', input: { twin: { outputs: 1 } } }, {}],
  ['a deadline too near', { version: 'v', input: {} }, { 'cancel-after': '1s' }],
])('a creation with %s is 422', async (_what, body, headers) => {
  const { twin } = await stage()
  const answer = await create(twin.origin, body, headers)
  expect(answer.status).toBe(422)
  expect(answer.body.detail).toEqual(expect.any(String))
})

test('creations above the rate are 429 with a time in words', async () => {
  const { twin } = await stage({ createsPerMinute: 1 })
  await create(twin.origin, { version: 'v', input: {} })
  const { status, body } = await create(twin.origin, { version: 'v', input: {} })
  expect(status).toBe(429)
  expect(body.detail).toMatch(/resets in ~\d+s\./)
})

test('a deadline before the start aborts, after it cancels', async () => {
  const { twin } = await stage()
  const deadline = { 'cancel-after': '5s' }
  const late = await create(twin.origin, { version: 'v', input: { twin: { queueMs: 60_000 } } }, deadline)
  const long = await create(twin.origin, { version: 'v', input: { twin: { end: 'never' } } }, deadline)
  const statusOf = async ({ id }: Record<string, unknown>) => {
    const headers = { authorization: 'Bearer r8_key' }
    const answer = await fetch(`${twin.origin}/v1/predictions/${id}`, { headers })
    return ((await answer.json()) as { status: string }).status
  }
  await vi.waitFor(async () => expect(await statusOf(late.body)).toBe('aborted'), {
    timeout: 20_000,
    interval: 100,
  })
  await vi.waitFor(async () => expect(await statusOf(long.body)).toBe('canceled'), {
    timeout: 20_000,
    interval: 100,
  })
})

test('a result that has expired is empty and says so', async () => {
  const { twin, client } = await stage({ scenario: { output: 'x', expireMs: 0, runMs: 0 } })
  const { id } = await client.predictions.create({ version: 'v', input: { a: 1 } })
  await vi.waitFor(async () => {
    const prediction = (await client.predictions.get(id)) as unknown as Record<string, unknown>
    expect(prediction).toMatchObject({ status: 'succeeded', output: null, input: null, data_removed: true })
  }, 5_000)
  expect(twin.jobs).toHaveLength(1)
})

describe('webhooks', () => {
  const bodies = (calls: readonly { body: string }[]) =>
    calls.map(({ body }) => (JSON.parse(body) as { status: string }).status)

  test('are signed so that the official library verifies them', async () => {
    const { client, twin } = await stage({ scenario: { queueMs: 20, chunks: ['a'], runMs: 60 } })
    const { address, calls } = await receiver()
    await client.predictions.create({ version: 'v', input: {}, webhook: `http://${address}/hook` })
    await vi.waitFor(() => expect(bodies(calls)).toContain('succeeded'), 10_000)
    expect(twin.webhookSecret).toMatch(/^whsec_/)
    expect((await client.webhooks.default.secret.get()).key).toBe(twin.webhookSecret)
    for (const { body, headers } of calls) {
      new Webhook(twin.webhookSecret).verify(body, headers as Record<string, string>)
    }
    expect(new Set(calls.map(({ headers }) => headers['webhook-id'])).size).toBe(calls.length)
  })

  test('come for the events asked for only', async () => {
    const { client } = await stage({ scenario: { queueMs: 20, chunks: ['a'], runMs: 60 } })
    const { address, calls } = await receiver()
    const webhook = `http://${address}/hook`
    await client.predictions.create({
      version: 'v',
      input: {},
      webhook,
      webhook_events_filter: ['completed'],
    })
    await vi.waitFor(() => expect(calls.length).toBeGreaterThan(0), 10_000)
    expect(bodies(calls)).toEqual(['succeeded'])
  })

  test('of the end are sent again under the same id while the receiver fails', async () => {
    const { client } = await stage({ webhookRetryMs: 10 })
    const server = await receiver()
    server.script(json({}, 500), json({}, 500), json({}))
    const webhook = `http://${server.address}/hook`
    await client.predictions.create({
      version: 'v',
      input: {},
      webhook,
      webhook_events_filter: ['completed'],
    })
    await vi.waitFor(() => expect(server.calls).toHaveLength(3), 10_000)
    expect(new Set(server.calls.map(({ headers }) => headers['webhook-id'])).size).toBe(1)
  })
})
