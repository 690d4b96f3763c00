import { request } from 'node:http'
import { expect, onTestFinished, test } from 'vitest'
import { serveHttp } from '../api/server.ts'
import { startTestApi } from './support/api-app.ts'

async function startServer(host = '127.0.0.1') {
  const { app } = await startTestApi()
  const { port, close } = await serveHttp(app, { host, port: 0 })
  onTestFinished(close)
  return { port, own: `127.0.0.1:${port}` }
}

function statusOf(port: number, method: string, path: string, headers: Record<string, string>) {
  return new Promise<number | undefined>((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port, method, path, headers, agent: false }, (answer) => {
      answer.resume()
      resolve(answer.statusCode)
    })
    sent.on('error', reject)
    sent.end()
  })
}

test('a page of another site cannot write to this machine, wherever the API listens', async () => {
  for (const listening of ['127.0.0.1', '0.0.0.0']) {
    const { port, own } = await startServer(listening)
    for (const origin of ['https://example.com', 'http://example.com', 'null']) {
      expect(await statusOf(port, 'POST', '/pause', { host: own, origin })).toBe(422)
      for (const host of ['localhost', 'app.localhost', '0.0.0.0', '[::1]']) {
        expect(await statusOf(port, 'PUT', '/task', { host: `${host}:${port}`, origin })).toBe(422)
      }
    }
    expect(await statusOf(port, 'POST', '/unpause', { host: own })).toBe(403)
  }
})

test('programs, pages of this machine and pages behind a proxy pass', async () => {
  const { port, own } = await startServer()
  for (const headers of [
    { host: own },
    { host: own, origin: `http://${own}` },
    { host: own, origin: 'http://localhost:5173' },
    { host: 'perdure.example.com', origin: 'https://perdure.example.com' },
    { host: own, origin: 'https://perdure.example.com', 'sec-fetch-site': 'same-origin' },
  ]) {
    // The queue is not paused: the request has reached its route.
    expect(await statusOf(port, 'POST', '/unpause', headers)).toBe(403)
  }
})

test('a public name that resolves to this machine reads nothing (DNS rebinding)', async () => {
  const { port } = await startServer()
  expect(await statusOf(port, 'GET', '/v1/queue_size', { host: `example.com:${port}` })).toBe(422)
  expect(await statusOf(port, 'GET', '/v1/queue_size', { host: `example.com.:${port}` })).toBe(422)
  for (const host of [
    'perdure.example.com',
    `perdure:${port}`,
    `10.0.0.1:${port}`,
    `[::1]:${port}`,
    `host.docker.internal:${port}`,
    `perdure.default.svc.cluster.local:${port}`,
  ]) {
    expect(await statusOf(port, 'GET', '/v1/queue_size', { host })).toBe(200)
  }
  const open = await startServer('0.0.0.0')
  expect(await statusOf(open.port, 'GET', '/v1/queue_size', { host: `example.com:${open.port}` })).toBe(200)
})
