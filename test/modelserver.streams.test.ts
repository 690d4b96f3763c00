/** Streams under limits: a generation that hangs, slots that are held until the end, a stop while one is open. */

import { expect, onTestFinished, test, vi } from 'vitest'
import { createModelServer, listen, type ModelSettings, type ServerOptions } from '../modelserver/index.ts'
import { modelOf } from './support/sample-models.ts'

const waitMs = { timeout: 20_000 }
const generatePath = '/v2/models/m/generate'
const never = () => new Promise<never>(() => {})

async function start(settings: ModelSettings, options: ServerOptions = {}) {
  const server = createModelServer(options).addModel('m', settings)
  onTestFinished(() => server.stop({ gracePeriodMs: 0 }))
  await server.start()
  const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
    server.test(path, { body, headers, silent: true, eventId: 'e' })
  const inFlight = () => server.routes.find('m')?.host?.queue.inFlight
  return { server, post, inFlight }
}

/** Yields the values; then hangs, deaf to its signal. */
function hangsAfter(...values: string[]) {
  return modelOf({
    async *generate() {
      yield* values
      await never()
    },
    predict: async function* () {
      yield* values
      await never()
    },
  })
}

test('a generation that hangs before its first chunk is a 504, and the next one gets its slot', async () => {
  let calls = 0
  const { post, inFlight } = await start({
    class: modelOf({
      async *generate() {
        if (++calls === 1) await never()
        yield 'a'
      },
    }),
    maxConcurrency: 1,
    timeoutMs: 100,
  })
  for (const path of [generatePath, `${generatePath}_stream`, '/v1/models/m:generate']) {
    calls = 0
    const [hung, next] = await Promise.all([post(path, { text_input: 'x' }), post(path, { text_input: 'x' })])
    expect([hung.status, hung.body]).toEqual([504, { error: 'model m took longer than 100 ms' }])
    expect([next.status, next.text]).toEqual([200, expect.stringContaining('"a"')])
  }
  expect(inFlight()).toBe(0)
})

test('a generation that hangs later ends with one error block, and joined it is a 504', async () => {
  const events: unknown[] = []
  const { post, inFlight } = await start(
    { class: hangsAfter('a'), maxConcurrency: 1, timeoutMs: 100 },
    {
      functionUri: 'p/f',
      trackModels: true,
      monitoringStream: { push: (records) => events.push(...records) },
    },
  )
  const streamed = await post(`${generatePath}_stream`, { text_input: 'x' })
  expect([streamed.status, streamed.text]).toEqual([
    200,
    'data: {"id":"e","model_name":"m","text_output":"a"}\n\ndata: {"error":"model m took longer than 100 ms"}\n\n',
  ])
  const joined = await post(generatePath, { text_input: 'x' })
  expect([joined.status, joined.body]).toEqual([504, { error: 'model m took longer than 100 ms' }])
  const lines = await post('/v1/models/m:predict', { instances: [1] })
  expect(lines.text).toBe('{"id":0,"data":"a"}\n{"error":"model m took longer than 100 ms"}\n')
  expect(inFlight()).toBe(0)
  expect(events).toHaveLength(3)
  expect(events).toEqual(
    events.map(() => expect.objectContaining({ error: 'model m took longer than 100 ms' })),
  )
})

test('a predict that streams holds its slot until the end and is recorded whole', async () => {
  const events: unknown[] = []
  const go = Promise.withResolvers<void>()
  const { post } = await start(
    {
      class: modelOf({
        async *predict({ instances }) {
          yield 'a'
          if (String(instances) === 'wait') await go.promise
          yield 'b'
        },
      }),
      maxConcurrency: 1,
      maxQueueSize: 0,
    },
    {
      functionUri: 'p/f',
      trackModels: true,
      monitoringStream: { push: (records) => events.push(...records) },
    },
  )
  const first = post('/v1/models/m:predict', { instances: ['wait'] })
  const second = await post('/v1/models/m:predict', { instances: [1] })
  expect([second.status, second.body]).toEqual([429, { error: 'model m queue is full (max 0)' }])
  go.resolve()
  expect((await first).text).toBe('{"id":0,"data":"a"}\n{"id":1,"data":"b"}\n')
  expect((await post('/v1/models/m:predict', { instances: [1] })).status).toBe(200)
  expect(events).toMatchObject([
    {
      op: 'predict',
      request: { instances: ['wait'] },
      resp: { id: 'e', model_name: 'm', outputs: ['a', 'b'] },
    },
    { op: 'predict', request: { instances: [1] } },
  ])
})

test('a stream that is open when the server stops is ended after the grace period, and told so', async () => {
  const { server } = await start({ class: hangsAfter('a') })
  const { url, close } = await listen(server)
  const response = await fetch(`${url}${generatePath}_stream`, { method: 'POST', body: '{"text_input":"x"}' })
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
  expect((await reader.read()).value).toContain('"text_output":"a"')
  await server.stop({ gracePeriodMs: 50 })
  expect((await reader.read()).value).toBe('data: {"error":"the server stops"}\n\n')
  expect((await reader.read()).done).toBe(true)
  await close()
})

test('a listener closes although a client keeps its answer open', async () => {
  const server = createModelServer()
  server.addRoute('deaf', () => new Response(new ReadableStream({ pull: never })))
  await server.start()
  const { url, close } = await listen(server, { closeGraceMs: 50 })
  const response = await fetch(`${url}/v2/models/deaf`, { method: 'POST', body: '{}' })
  await server.stop()
  await close()
  await expect(response.text()).rejects.toThrow()
})

test('what hangs is seen in the index, the metadata and the metrics', async () => {
  const ends: Array<() => void> = []
  const { server, post } = await start({
    class: modelOf({ predict: () => new Promise<void>((resolve) => ends.push(resolve)) }),
    timeoutMs: 50,
  })
  expect((await post('/v2/models/m/infer', { inputs: [1] })).status).toBe(504)
  const reason = 'requests over 50 ms that have not ended: 1'
  const index = async () => (await post('/v2/repository/index', {})).body
  expect(await index()).toEqual([{ name: 'm', state: 'READY', reason }])
  expect((await server.test('/v2/models/m')).body).toMatchObject({ name: 'm', state: 'READY', reason })
  const metrics = (await server.test('/metrics')).text
  expect(metrics).toContain('model_overdue{model="m",version=""} 1')
  expect(metrics).toContain(`model_state{model="m",version="",state="READY",reason="${reason}"} 1`)
  for (const end of ends) end()
  await vi.waitFor(
    async () => expect(await index()).toEqual([{ name: 'm', state: 'READY', reason: '' }]),
    waitMs,
  )
  expect((await server.test('/v2/models/m')).body).toEqual({
    name: 'm',
    version: '',
    inputs: [],
    outputs: [],
  })
})
