/** `GET /v1/docs`: the name in a JSON body of a GET request, or in the query. */
import { request } from 'node:http'
import { describe, expect, onTestFinished, test } from 'vitest'
import { serveHttp } from '../api/server.ts'
import { startTestApi } from './support/api-app.ts'
import { json, send } from './support/scripted-server.ts'

describe('GET /v1/docs', () => {
  test('passes on what the platform says, digits included', async () => {
    const { get, platform } = await startTestApi({ answer: json('{"name":"m","n":12345678901234567890}') })
    const response = await get('/v1/docs?model_name=m')
    expect(response.status, await response.clone().text()).toBe(200)
    expect(await response.text()).toBe('{"name":"m","n":12345678901234567890}')
    expect(platform.calls[0]?.method).toBe('GET')
  })

  test('reads the name from the body, as inherited clients send it', async () => {
    const { app } = await startTestApi({ platform: 'k8s', answer: json('{"doc":1}') })
    const server = await serveHttp(app, { host: '127.0.0.1', port: 0 })
    onTestFinished(() => server.close())
    const answer = await getWithBody(server.port, '/v1/docs', '{"model_name":"m"}')
    expect(answer).toEqual({ status: 200, body: '{"doc":1}' })
    expect((await getWithBody(server.port, '/v1/docs', '{"model":"m"}')).status).toBe(400)
    expect((await getWithBody(server.port, '/v1/docs', '')).status).toBe(400)
  })

  test('without a name it is 400', async () => {
    const { get } = await startTestApi()
    expect((await get('/v1/docs')).status).toBe(400)
    expect((await get('/v1/docs?model_name=')).status).toBe(400)
  })

  test('an unknown model of the platform is an error with the number of 2.3', async () => {
    const { get } = await startTestApi({ answer: send('{"error":"no such model"}', 404) })
    const response = await get('/v1/docs?model_name=m')
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ error: expect.stringMatching(/^status 20007: /) })
  })
})

function getWithBody(port: number, path: string, body: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const headers = body === '' ? {} : { 'content-length': Buffer.byteLength(body) }
    const sent = request({ host: '127.0.0.1', port, path, method: 'GET', headers }, async (response) => {
      let text = ''
      for await (const chunk of response) text += chunk
      resolve({ status: response.statusCode ?? 0, body: text })
    })
    sent.on('error', reject)
    sent.end(body)
  })
}
