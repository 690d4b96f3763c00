/** Conformance cases 25 to 32 of the model-server specification: prefixes, errors, loading, body paths, no router. */

import { createServer } from 'node:http'
import { expect, onTestFinished, test, vi } from 'vitest'
import {
  createModelServer,
  type ModelEvent,
  ModelRouter,
  type ModelServer,
  type ModelSettings,
  type ServerOptions,
  V2ModelServer,
} from '../modelserver/index.ts'
import { Dbl, modelOf, Raiser, Slow, Times } from './support/sample-models.ts'

const P = '/v2/models'
const D = { inputs: [5] }
const times = { class: Times, params: { multiplier: 100 } }
const noInputs = 'Exception: Expected key "inputs" in request body'

async function started(
  options: ServerOptions,
  models: Record<string, ModelSettings> = {},
): Promise<ModelServer> {
  const server = createModelServer(options)
  for (const [key, settings] of Object.entries(models)) server.addModel(key, settings)
  onTestFinished(() => server.stop({ gracePeriodMs: 100 }))
  return server.start()
}

function ask(server: ModelServer, path: string, body?: unknown, headers: Record<string, string> = {}) {
  return server.test(path, {
    eventId: 'evt-1',
    silent: true,
    headers,
    ...(body === undefined ? {} : { body }),
  })
}

test('case 25: prefixes are the router’s own and others are refused with their text', async () => {
  const router = new ModelRouter({ urlPrefix: '/api/m', healthPrefix: '/api/ok' })
  const own = await started({ router }, { m1: times })
  expect((await ask(own, '/api/m/m1/infer', D)).body).toMatchObject({ outputs: 500 })
  expect((await ask(own, '/api/ok')).body).toEqual({ name: 'ModelRouter', version: 'v2', extensions: [] })
  const wrong = await ask(own, `${P}/m1/infer`, D)
  expect([wrong.status, wrong.text]).toEqual([
    400,
    'ValueError: illegal path prefix /v2/models/m1/infer, must start with /api/m',
  ])
  const plain = await started({}, { m1: times })
  const v1 = await ask(plain, '/v1/models/m1/infer', D)
  expect([v1.status, v1.text]).toEqual([
    400,
    'ValueError: illegal path prefix /v1/models/m1/infer, must start with /v2/models',
  ])
})

test('case 26: a failed request is one record of the error stream', async () => {
  const records: unknown[] = []
  const server = await started(
    { errorStream: { push: (some) => records.push(...some) }, functionUri: 'default/tests' },
    { raiser: { class: Raiser } },
  )
  await ask(server, `${P}/raiser/infer`, D)
  await vi.waitFor(() => expect(records).toHaveLength(1), { timeout: 20_000 })
  expect(records[0]).toMatchObject({
    function_uri: 'default/tests',
    worker: 0,
    source: '_handler',
    event: { id: 'evt-1', body: D },
    message: 'ValueError: simulated error..',
    args: {},
  })
})

test('case 27: a model that loads in the background says so and shows its metadata', async () => {
  const server = await started({ loadMode: 'async' }, { m5: { class: Slow } })
  const ready = await ask(server, `${P}/m5/ready`)
  expect([ready.status, ready.text]).toEqual([408, 'model not ready'])
  for (const kind of ['http', '']) {
    const trigger = { kind, name: kind }
    const answer = await server.test(`${P}/m5/infer`, { body: D, trigger, silent: true })
    expect([answer.status, answer.text]).toEqual([400, 'RuntimeError: model m5 is not ready yet'])
    expect(answer.headers.get('retry-after')).toBe('1')
  }
  expect((await ask(server, `${P}/m5`)).body).toEqual({ name: 'm5', version: '', inputs: [], outputs: [] })
})

test('case 28: an event of a stream waits for the load and is answered', async () => {
  const server = await started({ loadMode: 'async' }, { m5: { class: Slow, params: { loadMs: 300 } } })
  const answer = await server.run({
    path: '/',
    method: 'POST',
    body: { model: 'm5', inputs: [5] },
    trigger: { kind: 'stream', name: 's' },
  })
  expect(answer.body).toMatchObject({ model_name: 'm5', outputs: 5 })
  expect((await ask(server, `${P}/m5/ready`)).status).toBe(200)
})

test('events of path-less streams go to the root, and text is parsed as its type says', async () => {
  const server = await started({}, { m1: times, m2: { class: Times, params: { multiplier: 200 } } })
  const body = JSON.stringify({ model: 'm2', inputs: [5] })
  const event = { path: '/topics/x', body, contentType: 'application/json' }
  const answer = await server.run({ ...event, trigger: { kind: 'kafka-cluster', name: 'k' } })
  expect(answer.body).toMatchObject({ model_name: 'm2', outputs: 1000 })
})

test('case 29: a load that throws fails a sync start, and an async one leaves the model not ready', async () => {
  const bad = { class: modelOf({ load: () => Promise.reject(new Error('disk gone')) }) }
  const failing = createModelServer().addModel('bad', bad)
  await expect(failing.start()).rejects.toMatchObject({
    name: 'RuntimeError',
    message: 'failed to load model bad',
    cause: { message: 'disk gone' },
  })
  const server = await started({ loadMode: 'async', logger: silent }, { bad })
  await vi.waitFor(() => expect(server.routes.find('bad')?.host?.state).toBe('UNAVAILABLE'), {
    timeout: 20_000,
  })
  expect((await ask(server, `${P}/bad/ready`)).status).toBe(408)
  const answer = await ask(server, `${P}/bad/infer`, D)
  expect([answer.status, answer.text]).toEqual([400, 'RuntimeError: model bad is not ready yet'])
})

test('an event of a stream gets the error of a failed load at once', async () => {
  const bad = { class: modelOf({ load: () => Promise.reject(new Error('disk gone')) }) }
  const server = await started({ loadMode: 'async', logger: silent }, { bad })
  const answer = await server.run({ body: { model: 'bad', ...D }, trigger: { kind: 'kafka', name: 'k' } })
  expect([answer.status, answer.text]).toEqual([400, 'RuntimeError: model bad is not ready Error: disk gone'])
})

test('case 30: a model needs a load method or a model object', async () => {
  class Bare extends V2ModelServer {
    override predict(): string {
      return 'served'
    }
  }
  await expect(createModelServer().addModel('m', { class: Bare }).start()).rejects.toMatchObject({
    cause: { message: 'please specify a load method or a model object' },
  })
  for (const model of ['MODELOBJ', 0, false, '']) {
    const server = await started({}, { m: { class: Bare, model } })
    expect((await ask(server, `${P}/m/infer`, D)).body).toMatchObject({ outputs: 'served' })
  }
})

test('case 31: inputPath picks the request and resultPath places the answer', async () => {
  const ipr = { class: Times, params: { multiplier: 2 }, inputPath: 'data.req' }
  const body = { data: { req: D }, z: 1 }
  const picking = await started({}, { ipr })
  expect((await ask(picking, `${P}/ipr/infer`, body)).body).toMatchObject({ outputs: 10 })
  const placing = await started({}, { ipr: { ...ipr, resultPath: 'resp' } })
  expect((await ask(placing, `${P}/ipr/infer`, body)).body).toEqual({
    ...body,
    resp: { id: 'evt-1', model_name: 'ipr', outputs: 10 },
  })
  const missing = await ask(placing, `${P}/ipr/infer`, { z: 1 })
  expect([missing.status, missing.text]).toEqual([400, noInputs])
})

test('resultPath leaves a Response alone and opens tensors', async () => {
  const server = await started(
    { protocol: 'oip' },
    {
      times: { ...times, protocol: 'v2', resultPath: 'resp' },
      dbl: { class: Dbl, inputPath: 'in', resultPath: 'a.b' },
      own: { class: Dbl, resultPath: 'a' },
    },
  )
  expect((await ask(server, `${P}/times/resp`, { x: 1 })).status).toBe(418)
  const tensors = { inputs: [{ name: 'input0', shape: [1, 2], datatype: 'FP32', data: [1, 2] }] }
  expect((await ask(server, `${P}/dbl/infer`, { in: tensors })).body).toMatchObject({
    in: tensors,
    a: { b: { model_name: 'dbl', outputs: [{ data: [6] }] } },
  })
  expect((await ask(server, `${P}/own/infer`, tensors)).body).toMatchObject({
    ...tensors,
    a: { model_name: 'own' },
  })
})

test('inputPath does not break metadata and ready, and refuses prototype names', async () => {
  const server = await started({}, { ipr: { ...times, inputPath: 'data.req', resultPath: 'a.b' } })
  expect((await ask(server, `${P}/ipr/ready`)).status).toBe(200)
  expect((await ask(server, `${P}/ipr`)).body).toMatchObject({ name: 'ipr' })
  const list = await server.run({ path: `${P}/ipr/infer`, body: { data: { req: [1] } } })
  expect([list.status, list.text]).toEqual([400, noInputs])
  await expect(
    createModelServer()
      .addModel('m', { ...times, inputPath: 'a.__proto__' })
      .start(),
  ).rejects.toThrow('__proto__')
})

test('inputPath on a body that is no object is a TypeError', async () => {
  const router = new ModelRouter({ inputPath: 'data' })
  const server = await started({ router }, { m1: times })
  const answer = await server.run({ path: `${P}/m1/infer`, body: [1, 2] })
  expect([answer.status, answer.text]).toEqual([
    400,
    'TypeError: input_path parameter supports only dict-like event bodies',
  ])
})

test('case 32: without a router the one model is served at the root', async () => {
  const server = await started({ model: { name: 'my2', ...times } })
  expect((await ask(server, '/')).body).toEqual({ name: 'my2', version: '', inputs: [], outputs: [] })
  expect((await ask(server, '/ready')).text).toBe('Model my2 is ready (event_id = evt-1)')
  expect((await ask(server, '/', D)).body).toEqual({ id: 'evt-1', model_name: 'my2', outputs: 500 })
  expect((await ask(server, '/explain', D)).body).toMatchObject({ outputs: { explained: 5 } })
})

test('versions have their own routes, and an unversioned v2 name never falls back to one', async () => {
  const server = await started({}, { 'm:v1': times, 'm:v2': { class: Times, params: { multiplier: 3 } } })
  expect((await ask(server, `${P}/m/versions/v2/infer`, D)).body).toEqual({
    id: 'evt-1',
    model_name: 'm',
    outputs: 15,
    model_version: 'v2',
  })
  expect((await ask(server, `${P}/m:v1/infer`, D)).body).toMatchObject({ outputs: 500, model_version: 'v1' })
  expect((await ask(server, `${P}/m/infer`, D)).text).toBe(
    'ValueError: model m doesnt exist, available models: m:v1 | m:v2',
  )
})

test('router hooks see the event before and the result after', async () => {
  class Wrapping extends ModelRouter {
    override preprocess(event: ModelEvent): ModelEvent {
      return event.copy({ body: { inputs: [7] } })
    }
    override postprocess(event: ModelEvent): ModelEvent {
      return event.copy({ body: { wrapped: event.body } })
    }
  }
  const server = await started({ router: new Wrapping() }, { m1: times })
  expect((await ask(server, `${P}/m1/infer`, D)).body).toMatchObject({ wrapped: { outputs: 700 } })
})

test('data_url is read as far as a body may be long, where the allow-list takes it', async () => {
  const pages = createServer((request, response) =>
    response.end('x'.repeat(request.url === '/large' ? 200 : 3)),
  )
  await new Promise<void>((resolve) => pages.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void pages.close())
  const address = pages.address()
  const base = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`
  const router = new ModelRouter({ dataUrlAllow: (url) => url.startsWith(base) })
  const predict = ({ inputs = [] }: { inputs?: unknown[] }) => String(inputs[0])
  const server = await started({ router, maxBodyBytes: 100 }, { m1: { class: modelOf({ predict }) } })
  const asked = (path: string) => ask(server, `${P}/m1/infer`, { data_url: base + path })
  expect((await asked('/small')).body).toMatchObject({ outputs: '120,120,120' })
  const large = await asked('/large')
  expect([large.status, large.text]).toEqual([400, 'ValueError: data_url: more than 100 bytes'])
})

test('data_url is refused unless the allow-list takes it', async () => {
  const server = await started({}, { m1: times })
  const answer = await ask(server, `${P}/m1/infer`, { data_url: 'http://127.0.0.1:1/x' })
  expect([answer.status, answer.text]).toEqual([400, 'ValueError: data_url is not allowed'])
})

test('addRoute takes a handler, a class with doEvent, and a model class', async () => {
  class Echo {
    doEvent({ body }: ModelEvent): unknown {
      return { echoed: body }
    }
  }
  const server = createModelServer()
    .addRoute('fn', ({ id }) => ({ id }))
    .addRoute('echo', Echo)
    .addRoute('times', Times)
  onTestFinished(() => server.stop())
  await server.start()
  expect((await ask(server, `${P}/fn`, D)).body).toEqual({ id: 'evt-1' })
  expect((await ask(server, `${P}/echo`, D)).body).toEqual({ echoed: D })
  expect((await ask(server, `${P}/times/infer`, D)).body).toMatchObject({ outputs: 5 })
})

const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
