/** Requests that are wrong in every way: the codes of the specification, a JSON error, nothing written. */
import { connect } from 'node:net'
import { describe, expect, onTestFinished, test } from 'vitest'
import { serveHttp } from '../api/server.ts'
import { startTestApi } from './support/api-app.ts'
import { flood } from './support/flood.ts'

const bad: [what: string, body: string, field: string | RegExp][] = [
  ['an empty body', '', /empty/],
  ['not JSON', '{"model_name":', /not valid JSON/],
  ['a text', '"hello"', /must be a JSON object/],
  ['null', 'null', /must be a JSON object/],
  ['a list', '[]', /must be a JSON object/],
  ['a huge number', '12345678901234567890123', /must be a JSON object/],
  ['no model', '{"inputs":{}}', /model_name is required/],
  ['an empty model', '{"model_name":"","inputs":{}}', /model_name must be a non-empty string/],
  ['a model that is a number', '{"model_name":7,"inputs":{}}', /model_name must be/],
  ['a model that is null', '{"model_name":null,"inputs":{}}', /model_name must be/],
  ['no inputs', '{"model_name":"m"}', /inputs is required/],
  ['null inputs', '{"model_name":"m","inputs":null}', /inputs must be an object/],
  ['listed inputs', '{"model_name":"m","inputs":[1]}', /inputs must be an object/],
  ['inputs that are a huge number', '{"model_name":"m","inputs":12345678901234567890123}', /inputs must be/],
  ['a control character in the name', '{"model_name":"m\\u0000","inputs":{}}', /model_name/],
]

describe.each(['/v1/predict', '/async/v1/predict'])('POST %s refuses', (path) => {
  test.each(bad)('%s with 400, and writes nothing', async (_what, body, field) => {
    const { post, platform, records } = await startTestApi()
    const response = await post(path, body)
    const answer = (await response.json()) as { error: string; code: string }
    expect(response.status, JSON.stringify(answer)).toBe(400)
    expect(response.headers.get('content-type')).toMatch(/^application\/json/)
    expect(answer.code).toBe('invalid_input')
    expect(answer.error).toMatch(field)
    expect(platform.calls).toHaveLength(0)
    expect(await records()).toBe(0)
  })

  test.each(['a/../b', 'a?x', 'a%2fb', 'a@b', '-a', 'a-', 'ä'])(
    'the name %s on kserve with 400, and calls nobody',
    async (name) => {
      const { post, platform, records } = await startTestApi({ platform: 'kserve' })
      const response = await post(path, { model_name: name, inputs: {} })
      expect(response.status, await response.clone().text()).toBe(400)
      expect(platform.calls).toHaveLength(0)
      expect(await records()).toBe(0)
    },
  )

  test('a body over the limit with 413, announced or not', async () => {
    const { app, post, records, settings } = await startTestApi({ settings: { maxBodyBytes: 1_000 } })
    const body = JSON.stringify({ model_name: 'm', inputs: { text: 'x'.repeat(1_000) } })
    const announced = await post(path, body, { 'content-length': String(body.length) })
    expect(announced.status).toBe(413)
    const chunks = new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode(body))
        controller.close()
      },
    })
    const streamed = await app.request(path, { method: 'POST', body: chunks, duplex: 'half' } as RequestInit)
    expect(streamed.status).toBe(413)
    expect(await streamed.json()).toMatchObject({ code: 'payload_too_large' })
    expect(settings.maxBodyBytes).toBe(1_000)
    expect(await records()).toBe(0)
  })

  test('text that is not UTF-8, and nesting without end, with 400', async () => {
    const { app, post, records } = await startTestApi({ settings: { maxBodyBytes: 1_000_000 } })
    const bytes = Buffer.concat([
      Buffer.from('{"model_name":"'),
      Buffer.from([0xff, 0xfe]),
      Buffer.from('"}'),
    ])
    expect((await app.request(path, { method: 'POST', body: bytes })).status).toBe(400)
    const deep = `{"model_name":"m","inputs":{"x":${'['.repeat(200_000)}${']'.repeat(200_000)}}}`
    const response = await post(path, deep)
    expect(response.status, (await response.clone().text()).slice(0, 200)).toBe(400)
    expect(await records()).toBe(0)
  })

  test('a wrong method with 405 and Allow', async () => {
    const { get, app } = await startTestApi()
    const response = await get(path)
    expect(response.status).toBe(405)
    expect(response.headers.get('allow')).toBe('POST')
    expect(await response.json()).toMatchObject({ code: 'method_not_allowed' })
    expect((await app.request(path, { method: 'DELETE' })).status).toBe(405)
  })
})

test('an unknown path is 404 with a JSON error', async () => {
  const { get, post } = await startTestApi()
  for (const response of [await get('/nowhere'), await post('/v1/nothing/here', {})]) {
    expect(response.status).toBe(404)
    expect(await response.json()).toMatchObject({ error: 'page not found', code: 'not_found' })
  }
})

test('over a socket: a body beyond the limit is answered before it has been sent', async () => {
  const { app } = await startTestApi({ settings: { maxBodyBytes: 1_000 } })
  const server = await serveHttp(app, { host: '127.0.0.1', port: 0 })
  onTestFinished(() => server.close())
  const answer = await exchange(
    server.port,
    'POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000000\r\n\r\n{"model_name"',
  )
  expect(answer).toMatch(/^HTTP\/1\.1 413 /)
  expect(answer).toContain('payload_too_large')
})

test('over a socket: a body without length stops being read at the limit', async () => {
  const { app } = await startTestApi({ settings: { maxBodyBytes: 1_000 } })
  const server = await serveHttp(app, { host: '127.0.0.1', port: 0 })
  onTestFinished(() => server.close())
  const chunk = `800\r\n${'x'.repeat(0x800)}\r\n`
  const answer = await exchange(
    server.port,
    `POST /v1/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n${chunk}`,
  )
  expect(answer).toMatch(/^HTTP\/1\.1 413 /)
})

test('over a socket: a body beyond the limit keeps no connection open, whatever the method', async () => {
  const { app } = await startTestApi({ settings: { maxBodyBytes: 1_000 } })
  const server = await serveHttp(app, { host: '127.0.0.1', port: 0 })
  onTestFinished(() => server.close())
  for (const asked of ['GET /v1/docs', 'GET /live', 'POST /v1/predict']) await flood(server.port, asked)
})

test('over a socket: what is not HTTP, and a Host that is none, get a JSON error', async () => {
  const { app } = await startTestApi()
  const server = await serveHttp(app, { host: '127.0.0.1', port: 0 })
  onTestFinished(() => server.close())
  for (const request of ['NONSENSE\r\n\r\n', 'GET /live HTTP/1.1\r\nHost: a b\r\n\r\n']) {
    const answer = await exchange(server.port, request)
    expect(answer).toMatch(/^HTTP\/1\.1 400 /)
    expect(answer).toContain('"code":"invalid_input"')
  }
})

/** Sends bytes, reads until the server closes or has sent a whole JSON body. */
function exchange(port: number, request: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = ''
    const socket = connect(port, '127.0.0.1', () => socket.write(request))
    socket.on('data', (chunk) => {
      answer += chunk
      if (answer.includes('}')) socket.destroy()
    })
    socket.on('close', () => resolve(answer))
    socket.on('error', reject)
  })
}
