/** The twin of RunPod: its documented answers, limits and webhooks. */
import { expect, onTestFinished, test, vi } from 'vitest'
import { type RunpodTwinOptions, startRunpodTwin } from '../dev/twins/runpod.ts'
import { json, startScriptedServer } from './support/scripted-server.ts'

async function stage(options: RunpodTwinOptions = {}) {
  const twin = await startRunpodTwin({ apiKey: 'key', ...options })
  onTestFinished(() => twin.close())
  const call = async (method: 'GET' | 'POST', path: string, body?: unknown) => {
    const response = await fetch(`${twin.baseUrl}/endpoint/${path}`, {
      method,
      headers: { authorization: 'Bearer key' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    return { status: response.status, body: (await response.json()) as Record<string, unknown> }
  }
  return {
    twin,
    call,
    run: async (body: unknown = { input: {} }) => (await call('POST', 'run', body)).body.id,
  }
}

test('a run is queued, runs and completes', async () => {
  const { call } = await stage({ scenario: { queueMs: 50, runMs: 50, output: { n: 1 } } })
  const created = await call('POST', 'run', { input: { a: 1 } })
  expect(created).toEqual({ status: 200, body: { id: expect.any(String), status: 'IN_QUEUE' } })
  const words = new Set<unknown>()
  await vi.waitFor(
    async () => {
      const { body } = await call('GET', `status/${created.body.id}`)
      words.add(body.status)
      expect(body).toMatchObject({
        output: { n: 1 },
        executionTime: expect.any(Number),
        delayTime: expect.any(Number),
      })
    },
    { timeout: 10_000, interval: 10 },
  )
  // Which of the earlier words a poll meets is a matter of time.
  expect(words).toContain('COMPLETED')
})

test('a synchronous run answers with the result', async () => {
  const { call } = await stage()
  expect((await call('POST', 'runsync', { input: { a: 1 } })).body).toMatchObject({
    status: 'COMPLETED',
    output: { a: 1 },
  })
})

test('a cancel ends a job, and a second one changes nothing', async () => {
  const { call, run } = await stage({ scenario: { end: 'never' } })
  const id = await run()
  expect((await call('POST', `cancel/${id}`)).body).toEqual({ id, status: 'CANCELLED' })
  expect((await call('POST', `cancel/${id}`)).body).toEqual({ id, status: 'CANCELLED' })
  expect((await call('GET', `status/${id}`)).body.status).toBe('CANCELLED')
})

test('an execution time that passes ends the job as timed out', async () => {
  const { call, run } = await stage({ scenario: { end: 'never' } })
  const id = await run({ input: {}, policy: { executionTimeout: 5_000, ttl: 60_000 } })
  await vi.waitFor(async () => expect((await call('GET', `status/${id}`)).body.status).toBe('TIMED_OUT'), {
    timeout: 20_000,
    interval: 100,
  })
})

test('a job is known to its endpoint only, and for the keeping time only', async () => {
  const { call, run, twin } = await stage({ scenario: { runMs: 0, expireMs: 0 } })
  const id = await run()
  const headers = { authorization: 'Bearer key' }
  expect((await fetch(`${twin.baseUrl}/other/status/${id}`, { headers })).status).toBe(404)
  await vi.waitFor(async () => expect((await call('GET', `status/${id}`)).status).toBe(404), 5_000)
})

test('chunks are given once', async () => {
  const { call, run } = await stage({ scenario: { chunks: ['a', 'b'], runMs: 30 } })
  const id = await run()
  await vi.waitFor(
    async () => expect((await call('GET', `status/${id}`)).body.status).toBe('COMPLETED'),
    5_000,
  )
  const stream = [{ output: 'a' }, { output: 'b' }]
  expect((await call('GET', `stream/${id}`)).body).toEqual({ status: 'COMPLETED', stream })
  expect((await call('GET', `stream/${id}`)).body).toEqual({ status: 'COMPLETED', stream: [] })
})

test('health counts jobs, and a purge cancels those that wait', async () => {
  const { call, run } = await stage({ scenario: { queueMs: 60_000 } })
  await run()
  await run()
  expect((await call('GET', 'health')).body).toMatchObject({ jobs: { inQueue: 2, inProgress: 0 } })
  expect((await call('POST', 'purge-queue')).body).toEqual({ removed: 2, status: 'completed' })
  expect((await call('GET', 'health')).body).toMatchObject({ jobs: { inQueue: 0 } })
})

test('requests above the limit of an endpoint are 429', async () => {
  const { call } = await stage({ limits: { run: 1 } })
  expect((await call('POST', 'run', { input: {} })).status).toBe(200)
  expect((await call('POST', 'run', { input: {} })).status).toBe(429)
})

test.each([
  ['no input', {}],
  ['an execution time too short', { input: {}, policy: { executionTimeout: 1 } }],
  ['a ttl too short', { input: {}, policy: { ttl: 1 } }],
  ['an unknown scenario', { input: { twin: { word: 'x' } } }],
])('a run with %s is 400', async (_what, body) => {
  const { call } = await stage()
  expect((await call('POST', 'run', body)).status).toBe(400)
})

test('a wrong key is 401, an unknown path 404', async () => {
  const { twin } = await stage()
  const headers = { authorization: 'Bearer wrong' }
  expect((await fetch(`${twin.baseUrl}/endpoint/health`, { headers })).status).toBe(401)
  expect((await fetch(`${twin.origin}/nothing`)).status).toBe(404)
})

test('a webhook brings the end, unsigned, and comes twice more at most', async () => {
  const { run } = await stage({ webhookRetryMs: 10 })
  const server = await startScriptedServer(json({}, 500))
  onTestFinished(() => server.close())
  const id = await run({ input: { a: 1 }, webhook: `http://${server.address}/hook` })
  await vi.waitFor(() => expect(server.calls).toHaveLength(3), 10_000)
  for (const { body, headers } of server.calls) {
    expect(JSON.parse(body)).toMatchObject({ id, status: 'COMPLETED', output: { a: 1 } })
    expect(headers).not.toHaveProperty('webhook-signature')
  }
})
