/** `POST /v1/generate`: both framings, failures before and after the first piece, and a caller that leaves. */
import { createParser } from 'eventsource-parser'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { serveHttp } from '../api/server.ts'
import { startTestApi, type TestApi } from './support/api-app.ts'
import { hang, type Step, send } from './support/scripted-server.ts'

const body = { model_name: 'talker', inputs: { text_input: 'hi' } }

/** KServe V1 objects one after the other; `then` decides how it ends. */
function talks(words: string[], then: 'ends' | 'hangs' | 'breaks' = 'ends'): Step {
  return (_call, response, request) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    for (const [id, data] of words.entries()) response.write(`${JSON.stringify({ id, data })}\n`)
    if (then === 'ends') response.end()
    if (then === 'breaks') setTimeout(() => request.socket.resetAndDestroy(), 50)
  }
}

const start = (answer: Step) => startTestApi({ platform: 'kserve', answer })

async function onlyRecord(api: TestApi) {
  const { items } = await api.store.list({ limit: 10 })
  expect(items).toHaveLength(1)
  return items[0]!
}

describe('POST /v1/generate', () => {
  test('a standard SSE client reads the pieces and the end; the text is in the record', async () => {
    const api = await start(talks(['Hel', 'lo\nyou']))
    const response = await api.post('/v1/generate', body, { accept: '*/*' })
    expect(response.status, await response.clone().text()).toBe(200)
    expect(response.headers.get('content-type')).toBe('text/event-stream')
    expect(response.headers.get('cache-control')).toBe('no-cache')
    const events: unknown[] = []
    createParser({
      onEvent: ({ id, event, data }) => events.push({ id, event, data: JSON.parse(data) }),
    }).feed(await response.text())
    const record = await onlyRecord(api)
    expect(events).toMatchObject([
      { id: '0', data: { id: 0, data: 'Hel' } },
      { id: '1', data: { id: 1, data: 'lo\nyou' } },
      { event: 'done', data: { id: record.id, status: 'succeeded' } },
    ])
    expect(record).toMatchObject({ status: 'succeeded', outputs: '{"output":"Hello\\nyou"}' })
    expect(record.runningTime).toMatch(/^\d+\.\d{6}$/)
  })

  test('JSON lines where the caller or the configuration asks for them', async () => {
    const api = await start(talks(['a', 'b']))
    const lines = '{"id":0,"data":"a"}\n{"id":1,"data":"b"}\n'
    const asked = await api.post('/v1/generate', body, { accept: 'application/x-ndjson' })
    expect(asked.headers.get('content-type')).toBe('application/x-ndjson')
    expect(await asked.text()).toBe(lines)
    api.settings.generateDefault = 'ndjson'
    expect(await (await api.post('/v1/generate', body)).text()).toBe(lines)
  })

  test.each([
    ['a 400', send('{"error":"bad"}', 400), 400],
    ['a 500', send('{}', 500), 502],
  ])(
    '%s before the first piece is JSON with its status, and the record failed',
    async (_what, answer, status) => {
      const api = await start(answer)
      const response = await api.post('/v1/generate', body)
      expect(response.status, await response.clone().text()).toBe(status)
      expect(response.headers.get('content-type')).toMatch(/^application\/json/)
      expect(await onlyRecord(api)).toMatchObject({ status: 'failed' })
    },
  )

  test('a failure after the first piece is an error event, or the last line', async () => {
    for (const [accept, last] of [
      ['text/event-stream', /event: error\ndata: \{"error":"status \d+: .*"\}\n\n$/],
      ['application/x-ndjson', /\n\{"error":"status \d+: .*"\}\n$/],
    ] as const) {
      const api = await start(talks(['a'], 'breaks'))
      const response = await api.post('/v1/generate', body, { accept })
      expect(response.status).toBe(200)
      expect(await response.text()).toMatch(last)
      expect(await onlyRecord(api)).toMatchObject({ status: 'failed' })
    }
  })

  test('a platform without streams is 501, and nothing is written', async () => {
    const api = await startTestApi({ platform: 'k8s' })
    const response = await api.post('/v1/generate', body)
    expect(response.status).toBe(501)
    expect(await response.json()).toMatchObject({ error: expect.stringMatching(/^status 20006: /) })
    expect(await api.records()).toBe(0)
  })

  test('a caller that leaves closes the platform’s connection, and the record reads canceled', async () => {
    const api = await start(talks(['a'], 'hangs'))
    const server = await serveHttp(api.app, { host: '127.0.0.1', port: 0 })
    onTestFinished(() => server.close())
    const leaving = new AbortController()
    const response = await fetch(`${server.url}/v1/generate`, {
      method: 'POST',
      body: JSON.stringify(body),
      signal: leaving.signal,
    })
    const reader = response.body!.getReader()
    await reader.read()
    leaving.abort()
    await vi.waitFor(() => expect(api.platform.calls[0]?.aborted).toBe(true), { timeout: 10_000 })
    await vi.waitFor(
      async () =>
        expect(await onlyRecord(api)).toMatchObject({
          status: 'canceled',
          errorInfo: 'client stopped listening',
        }),
      { timeout: 10_000 },
    )
  })

  test('a cancel ends the stream and closes the platform’s connection', async () => {
    const api = await start(talks(['a'], 'hangs'))
    const response = await api.post('/v1/generate', body)
    const { id } = await onlyRecord(api)
    const text = response.text()
    expect((await api.post(`/cancel/${id}`)).status).toBe(200)
    expect(await text).toMatch(/event: error\ndata: \{"error":"prediction was canceled"\}/)
    await vi.waitFor(() => expect(api.platform.calls[0]?.aborted).toBe(true), { timeout: 10_000 })
    expect((await onlyRecord(api)).status).toBe('canceled')
  })

  test('a caller that leaves before the first piece closes the platform’s connection too', async () => {
    const api = await start(hang)
    const server = await serveHttp(api.app, { host: '127.0.0.1', port: 0 })
    onTestFinished(() => server.close())
    const leaving = new AbortController()
    const { signal } = leaving
    const call = fetch(`${server.url}/v1/generate`, { method: 'POST', body: JSON.stringify(body), signal })
    await vi.waitFor(() => expect(api.platform.calls).toHaveLength(1), { timeout: 10_000 })
    leaving.abort()
    await expect(call).rejects.toThrow()
    await vi.waitFor(() => expect(api.platform.calls[0]?.aborted).toBe(true), { timeout: 10_000 })
    await vi.waitFor(async () =>
      expect(await onlyRecord(api)).toMatchObject({
        status: 'canceled',
        errorInfo: 'client stopped listening',
      }),
    )
  })

  test('38: parallel requests with one key are one stream; the others get its text, also later', async () => {
    const api = await start((call, response, request) => {
      setTimeout(() => talks(['Hel', 'lo'])(call, response, request), 200)
    })
    const key = { 'idempotency-key': 'k', accept: 'application/x-ndjson' }
    const answers = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const response = await api.post('/v1/generate', body, key)
        expect(response.status).toBe(200)
        return response.text()
      }),
    )
    const whole = '{"id":0,"data":"Hello"}\n'
    expect(answers.filter((text) => text === whole)).toHaveLength(19)
    expect(answers).toContain('{"id":0,"data":"Hel"}\n{"id":1,"data":"lo"}\n')
    expect(await (await api.post('/v1/generate', body, key)).text()).toBe(whole)
    expect(api.platform.calls).toHaveLength(1)
    expect((await api.post('/v1/generate', { ...body, inputs: {} }, key)).status).toBe(422)
    const metrics = await api.deps.metrics.text()
    expect(metrics).toMatch(/^idempotent_replays_total 20$/m)
    expect(metrics).toMatch(/^predictions_total\{model="talker",platform="kserve",status="succeeded"\} 1$/m)
  })

  test('a caller that does not read on keeps its record open no longer than TASK_TIMEOUT', async () => {
    const api = await startTestApi({
      platform: 'kserve',
      answer: talks(['a', 'b', 'c'], 'hangs'),
      taskTimeoutMs: 1_000,
    })
    const response = await api.post('/v1/generate', body)
    const within = { timeout: 10_000 }
    await vi.waitFor(async () => expect((await onlyRecord(api)).status).toBe('failed'), within)
    expect(await onlyRecord(api)).toMatchObject({ errorInfo: 'status 20000: predict timeout' })
    await vi.waitFor(() => expect(api.platform.calls[0]?.aborted).toBe(true), within)
    expect(await response.text()).toMatch(/event: error\ndata: \{"error":"status 20000: predict timeout"\}/)
  })

  test('the replay of a stream that failed has the status of its failure', async () => {
    const api = await start(talks(['a'], 'breaks'))
    const key = { 'idempotency-key': 'k' }
    expect(await (await api.post('/v1/generate', body, key)).text()).toMatch(/event: error/)
    const again = await api.post('/v1/generate', body, key)
    expect(again.status).toBe(502)
    expect(await again.json()).toMatchObject({ error: (await onlyRecord(api)).errorInfo })
    expect(api.platform.calls).toHaveLength(1)
  })

  test('bad input is 400, and nothing is written', async () => {
    const api = await start(talks([]))
    for (const wrong of ['', '[]', { inputs: {} }, { model_name: 'a/b', inputs: {} }]) {
      expect((await api.post('/v1/generate', wrong)).status).toBe(400)
    }
    expect(await api.records()).toBe(0)
  })
})
