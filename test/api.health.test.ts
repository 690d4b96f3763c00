/** `/live`, `/ready`, `/metrics`, the log lines, and the server's orderly end. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { drainHttp, watchReadiness } from '../api/readiness.ts'
import { serveHttp } from '../api/server.ts'
import { ServiceError } from '../contracts/errors.ts'
import { startTestApi } from './support/api-app.ts'

describe('GET /live', () => {
  test('is 200 even when nothing is ready', async () => {
    const { get } = await startTestApi({ notReady: () => new ServiceError('store_unavailable', 'away') })
    const response = await get('/live')
    expect(response.status).toBe(200)
    expect(await response.json()).toEqual({ message: 'API OK' })
  })
})

describe('GET /ready', () => {
  test('is 200 while everything answers', async () => {
    const { get } = await startTestApi()
    const response = await get('/ready')
    expect(response.status).toBe(200)
    expect(await response.json()).toEqual({ message: 'API OK' })
  })

  test('is 200 without Temporal, and says so: what is accepted waits for it', async () => {
    const { get } = await startTestApi({ temporalAnswers: false })
    const response = await get('/ready')
    expect(response.status).toBe(200)
    expect(await response.json()).toEqual({ message: 'API OK', temporal: 'unavailable' })
  })

  test('a Temporal that is away or hangs is told, and does not count against it', async () => {
    let temporal: () => Promise<void> = () => Promise.reject(new Error('away'))
    const checks = { ready: async () => undefined, temporal: () => temporal() }
    const readiness = watchReadiness(checks, { everyMs: 5, limitMs: 20 })
    onTestFinished(() => readiness.stop())
    for (const answers of [false, true, false, true]) {
      temporal = answers ? async () => undefined : temporal
      await vi.waitFor(() => expect(readiness.temporalAnswers()).toBe(answers), { timeout: 10_000 })
      expect(readiness.now()).toBeUndefined()
      temporal = () => new Promise(() => undefined)
    }
  })

  test.each(['store_unavailable', 'temporal_unavailable', 'draining'] as const)(
    'is 503 on %s',
    async (code) => {
      const { get } = await startTestApi({ notReady: () => new ServiceError(code, 'not ready') })
      const response = await get('/ready')
      expect(response.status).toBe(503)
      expect(await response.json()).toMatchObject({ code })
      expect(response.headers.get('retry-after')).not.toBeNull()
    },
  )

  test('turns with what it checks, hanging checks included, and recovers by itself', async () => {
    let check: () => Promise<void> = () => Promise.reject(new ServiceError('store_unavailable', 'x'))
    const checks = { ready: () => check(), temporal: async () => undefined }
    const readiness = watchReadiness(checks, { everyMs: 5, limitMs: 20 })
    onTestFinished(() => readiness.stop())
    const code = () => readiness.now()?.code
    expect(code()).toBe('temporal_unavailable')
    await vi.waitFor(() => expect(code()).toBe('store_unavailable'), { timeout: 10_000 })
    check = () => Promise.resolve()
    await vi.waitFor(() => expect(code()).toBeUndefined(), { timeout: 10_000 })
    check = () => new Promise(() => undefined)
    await vi.waitFor(() => expect(code()).toBe('store_unavailable'), { timeout: 10_000 })
    check = () => Promise.resolve()
    await vi.waitFor(() => expect(code()).toBeUndefined(), { timeout: 10_000 })
    readiness.drain()
    expect(code()).toBe('draining')
  })
})

describe('GET /metrics', () => {
  test('has every inherited name, measured on every route', async () => {
    const { get, post, waiting } = await startTestApi({ settings: { maxQueueSize: 4 } })
    await post('/v1/predict', { model_name: 'm', inputs: {} })
    await get('/task/nobody')
    await get('/nowhere')
    await waiting()
    const response = await get('/metrics')
    expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/)
    const text = await response.text()
    expect(text).toContain('http_requests_total{path="/v1/predict"} 1')
    expect(text).toContain('predictions_total{model="m",platform="v2",status="succeeded"} 1')
    expect(text).toContain('response_status{path="/task/:id",status="404"} 1')
    expect(text).toContain('response_status{path="unmatched",status="404"} 1')
    for (const bucket of ['0.005', '10', '30', '300', '600']) {
      expect(text).toContain(`http_response_time_seconds_bucket{le="${bucket}",path="/v1/predict"}`)
    }
    expect(text).toContain('\ntask_queue_size 1\n')
    expect(text).toContain('\ntask_queue_size_ratio 0.25\n')
    expect(text).toContain('\nnum_tasks_set_to_failed 0\n')
    for (const name of [
      'async_predict_failure_total',
      'async_predict_time',
      'process_cpu_seconds_total',
      'nodejs_',
    ]) {
      expect(text).toContain(`\n${name}`)
    }
  })

  test('leaves the queue out while nobody knows it', async () => {
    const api = await startTestApi()
    api.deps.store.figures = () => Promise.reject(new ServiceError('store_unavailable', 'away'))
    const response = await api.get('/metrics')
    expect(response.status).toBe(200)
    expect(await response.text()).not.toMatch(/^task_queue_size /m)
  })
})

test('each request is one log line with the three inherited keys and never a payload', async () => {
  const { post, logged } = await startTestApi()
  await post('/v1/predict', { model_name: 'm', inputs: { secret: 'hunter2' } })
  expect(logged).toHaveLength(1)
  expect(logged[0]).toMatchObject({
    severity: 'INFO',
    message: 'request',
    method: 'POST',
    path: '/v1/predict',
    status: 200,
  })
  expect(logged[0]?.time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$/)
  expect(JSON.stringify(logged)).not.toContain('hunter2')
})

test('a taken port is one clear line', async () => {
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  onTestFinished(() => void taken.close())
  const address = taken.address()
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0
  const { app } = await startTestApi()
  await expect(serveHttp(app, { host: '127.0.0.1', port })).rejects.toThrow(
    `cannot listen on 127.0.0.1:${port}: the port is already in use`,
  )
})

test('draining: not ready at once, served for the delay, then running requests end and the port is closed', async () => {
  const { app, platform } = await startTestApi({
    answer: (_call, response) => {
      release = () => response.end('{"outputs":[1]}')
    },
  })
  let release = () => {}
  const readiness = watchReadiness({ ready: async () => undefined, temporal: async () => undefined })
  const server = await serveHttp(app, { host: '127.0.0.1', port: 0 })
  const running = fetch(`${server.url}/v1/predict`, {
    method: 'POST',
    body: '{"model_name":"m","inputs":{}}',
  })
  await vi.waitFor(() => expect(platform.calls).toHaveLength(1), { timeout: 10_000 })
  const ended = drainHttp(server, readiness, 300)
  expect(readiness.now()?.code).toBe('draining')
  const served = await fetch(`${server.url}/live`)
  expect(served.status).toBe(200)
  expect(served.headers.get('connection')).toBe('close')
  await vi.waitFor(() => expect(fetch(`${server.url}/live`)).rejects.toThrow(), { timeout: 10_000 })
  release()
  expect((await running).status).toBe(200)
  await ended
})
