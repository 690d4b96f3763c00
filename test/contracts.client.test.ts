/** The published client (`perdure/client`) against a served API: what each call sends, gives back and throws. */
import { expect, onTestFinished, test } from 'vitest'
import { serveHttp } from '../api/server.ts'
import { ApiError, type Client, makeClient } from '../contracts/client.ts'
import { startTestApi, type TestApi, type TestApiOptions } from './support/api-app.ts'
import { json } from './support/scripted-server.ts'

async function clientOf(options: TestApiOptions = {}): Promise<TestApi & { client: Client }> {
  const api = await startTestApi(options)
  const server = await serveHttp(api.app, { host: '127.0.0.1', port: 0 })
  onTestFinished(() => server.close())
  return { ...api, client: makeClient({ baseUrl: `${server.url}/` }) }
}

test('predict answers with the record, digits kept', async () => {
  const { client } = await clientOf({
    answer: (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end('{"outputs":[12345678901234567890]}')
    },
  })
  const record = await client.predict('iris', { inputs: [[1]] })
  expect(record).toMatchObject({ model_name: 'iris', status: 'succeeded' })
  expect(JSON.stringify(record.outputs)).toContain('12345678901234567890')
  expect(await client.task(record.id)).toEqual(record)
})

test('submit gives an id at once, the same one for the same key; cancel ends it, and wait sees that', async () => {
  const { client } = await clientOf()
  const { id } = await client.submit('iris', { inputs: [1] }, { idempotencyKey: 'k' })
  expect(await client.submit('iris', { inputs: [1] }, { idempotencyKey: 'k' })).toEqual({ id })
  expect(await client.wait(id, { timeoutMs: 1 })).toMatchObject({ id, status: 'pending' })
  const looks: string[] = []
  const waiting = client.wait(id, { onLook: ({ status }) => looks.push(status) })
  await client.cancel(id)
  expect(await waiting).toMatchObject({ id, status: 'canceled' })
  expect(looks.at(-1)).toBe('canceled')
})

test('a refusal is an ApiError with status and code, a wait that is given up ends with its signal', async () => {
  const { client } = await clientOf({ answer: json({ error: 'broken' }, 500) })
  const failure = await client.predict('iris', { inputs: [1] }).catch((error: unknown) => error)
  expect(failure).toBeInstanceOf(ApiError)
  expect(failure).toMatchObject({ status: expect.any(Number), code: expect.stringMatching(/./) })
  await expect(client.task('nobody')).rejects.toMatchObject({
    name: 'ApiError',
    status: 404,
    code: 'not_found',
  })
  const { id } = await client.submit('iris', {})
  await expect(client.wait(id, { signal: AbortSignal.timeout(20) })).rejects.toMatchObject({
    name: 'TimeoutError',
  })
})
