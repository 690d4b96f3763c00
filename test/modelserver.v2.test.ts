/** Conformance cases 1 to 24 of the model-server specification: router, protocol v2, custom operations. */

import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import {
  createModelServer,
  type ModelRequest,
  type ModelServer,
  type TestOptions,
  V2ModelServer,
} from '../modelserver/index.ts'
import { Hooks, Lists, NoImpl, Raiser, Spec, Times } from './support/sample-models.ts'

const P = '/v2/models'
const D = { inputs: [5] }
const all = 'm1 | m2 | noimpl | raiser | hooks | v1proto | spec'
const five = { id: 'evt-1', model_name: 'm1', outputs: 500 }

class ReportsTypes extends V2ModelServer {
  override load(): void {}
  op_types({ body }: { body: unknown }): unknown {
    const { inputs = [] } = body as ModelRequest
    return { count: inputs.length, bytes: inputs.map((input) => input instanceof Uint8Array && [...input]) }
  }
}

let server: ModelServer

async function makeServer(options: { verbose?: boolean } = {}): Promise<ModelServer> {
  const made = createModelServer({ dictOps: true, ...options })
  made.addModel('m1', { class: Times, params: { multiplier: 100 } })
  made.addModel('m2', { class: Times, params: { multiplier: 200 } })
  made.addModel('noimpl', { class: NoImpl })
  made.addModel('raiser', { class: Raiser })
  made.addModel('hooks', { class: Hooks })
  made.addModel('v1proto', { class: Lists, protocol: 'v1', params: { multiplier: 1 } })
  made.addModel('spec', { class: Spec, params: { from_fn: 'fromfn' } })
  return made.start()
}

async function ask(path: string, body?: unknown, options: TestOptions = {}) {
  const given = body === undefined ? {} : { body, contentType: 'application/json' }
  return server.test(path, { eventId: 'evt-1', silent: true, ...given, ...options })
}

async function askRaw(path: string, text: string | Uint8Array, contentType?: string) {
  const type = contentType === undefined ? {} : { contentType }
  return server.test(path, { eventId: 'evt-1', silent: true, body: text, method: 'POST', ...type })
}

beforeAll(async () => {
  server = await makeServer()
  return () => server.stop()
})

test('case 1: the root and the health prefix name the router', async () => {
  for (const path of ['/', '/v2/health']) {
    const { status, body } = await ask(path)
    expect(status).toBe(200)
    expect(body).toEqual({ name: 'ModelRouter', version: 'v2', extensions: [] })
  }
})

test('case 2: the prefix alone lists the route keys in their order, whatever the method', async () => {
  const models = { models: ['m1', 'm2', 'noimpl', 'raiser', 'hooks', 'v1proto', 'spec'] }
  expect((await ask(`${P}/`)).body).toEqual(models)
  expect((await ask(P)).body).toEqual(models)
  expect((await ask(`${P}/`, { inputs: [1] })).body).toEqual(models)
})

test('case 3: infer is answered whatever the content type, path form or method', async () => {
  const json = JSON.stringify(D)
  for (const type of ['application/json', undefined, 'text/plain', 'application/json; charset=utf-8']) {
    const answer = await askRaw(`${P}/m1/infer`, json, type)
    expect(answer.body, answer.text).toEqual(five)
    expect(answer.status).toBe(200)
    expect(answer.contentType).toBe('application/json')
  }
  for (const path of ['/m1/predict', '/m1', '/m1/']) expect((await ask(P + path, D)).body).toEqual(five)
  expect((await ask(`${P}/m1/infer`, D, { method: 'PUT' })).body).toEqual(five)
})

test('case 4: the id of the body is answered with its own type', async () => {
  expect((await ask(`${P}/m1/infer`, { id: 'my-id', ...D })).body).toEqual({ ...five, id: 'my-id' })
  expect((await ask(`${P}/m1/infer`, { id: 77, ...D })).body).toEqual({ ...five, id: 77 })
})

test('case 5: explain answers the envelope with what the hook returned', async () => {
  const { body } = await ask(`${P}/m1/explain`, D)
  expect(body).toEqual({ id: 'evt-1', model_name: 'm1', outputs: { explained: 5 } })
})

describe('case 6: what a hook throws is a 400 text of class and message', () => {
  test.each([
    ['/noimpl/infer', 'NotImplementedError: NotImplementedError()'],
    ['/noimpl/explain', 'NotImplementedError: NotImplementedError()'],
    ['/raiser/infer', 'ValueError: simulated error..'],
  ])('%s', async (path, text) => {
    const answer = await ask(P + path, D)
    expect(answer.status).toBe(400)
    expect(answer.contentType).toMatch(/^text\/plain/)
    expect(answer.text).toBe(text)
  })

  test('with verbose a newline and the stack follow', async () => {
    const verbose = await makeServer({ verbose: true })
    onTestFinished(() => verbose.stop())
    const { text } = await verbose.test(`${P}/raiser/infer`, { body: D, silent: true })
    expect(text).toMatch(/^ValueError: simulated error\.\.\nValueError: simulated error\.\.\n\s+at /)
  })
})

test('case 7: GET of a model is its metadata', async () => {
  const plain = { name: 'm1', version: '', inputs: [], outputs: [] }
  expect((await ask(`${P}/m1`)).body).toEqual(plain)
  expect((await ask(`${P}/m1/`)).body).toEqual(plain)
  expect((await ask(`${P}/spec`)).body).toEqual({
    name: 'spec',
    version: '',
    inputs: [
      { name: 'a', value_type: 'float' },
      { name: 'b', value_type: 'float' },
    ],
    outputs: [{ name: 'label', value_type: 'int' }],
  })
})

test('case 8: ready is a text for GET and an illegal operation for POST', async () => {
  const ready = await ask(`${P}/m1/ready`)
  expect(ready.contentType).toMatch(/^text\/plain/)
  expect(ready.text).toBe('Model m1 is ready (event_id = evt-1)')
  const posted = await ask(`${P}/m1/ready`, D)
  expect(posted.status).toBe(400)
  expect(posted.text).toBe('ValueError: illegal model operation ready, method=POST')
})

test('case 9: a custom operation gets the body unchanged, or none', async () => {
  expect((await ask(`${P}/m1/myop`, { test: 'ok' })).body).toEqual({ test: 'ok' })
  expect((await ask(`${P}/m1/myop`, { anything: 1 })).body).toEqual({ anything: 1 })
  const empty = await ask(`${P}/m1/myop`)
  expect(empty.status).toBe(200)
  expect(empty.text).toBe('')
})

test('case 10: custom operations answer text, JSON, a Response of their own, or an error', async () => {
  const sent = { test: 'ok' }
  const text = await ask(`${P}/m1/text`, sent)
  expect([text.status, text.text]).toEqual([200, 'plain text'])
  expect(text.contentType).toMatch(/^text\/plain/)
  const num = await ask(`${P}/m1/num`, sent)
  expect([num.contentType, num.text]).toEqual(['application/json', '7'])
  const tea = await ask(`${P}/m1/resp`, sent)
  expect([tea.status, tea.contentType, Buffer.from(tea.body as Uint8Array | string).toString()]).toEqual([
    418,
    'text/x-tea',
    'teapot',
  ])
  const raised = await ask(`${P}/m1/raise`, sent)
  expect([raised.status, raised.text]).toEqual([400, 'ValueError: missing-thing'])
})

test('case 11: an operation the model does not have is named with its method', async () => {
  const sent = { test: 'ok' }
  expect((await ask(`${P}/m1/xx`, sent)).text).toBe('ValueError: illegal model operation xx, method=POST')
  expect((await ask(`${P}/m1/a/b`, sent)).text).toBe('ValueError: illegal model operation a/b, method=POST')
  const got = await ask(`${P}/m1/xx`)
  expect([got.status, got.text]).toEqual([400, 'ValueError: illegal model operation xx, method=GET'])
})

test('case 12: a missing model is reported before its operation, with the models there are', async () => {
  const text = `ValueError: model m5 doesnt exist, available models: ${all}`
  for (const answer of [
    await ask(`${P}/m5/infer`, D),
    await ask(`${P}/m5`),
    await ask(`${P}/m5/xx`, { test: 'ok' }),
  ]) {
    expect([answer.status, answer.text]).toEqual([400, text])
  }
})

test('case 13: without inputs the key is asked for', async () => {
  const text = 'Exception: Expected key "inputs" in request body'
  for (const answer of [
    await ask(`${P}/m1/infer`, { x: 1 }),
    await ask(`${P}/m1/infer`, {}),
    await ask(`${P}/m1/infer`, undefined, { method: 'POST' }),
    await ask(`${P}/m1/infer`),
  ]) {
    expect([answer.status, answer.text]).toEqual([400, text])
  }
})

test('case 14: inputs that are no list are refused', async () => {
  for (const inputs of [5, null]) {
    const answer = await ask(`${P}/m1/infer`, { inputs })
    expect([answer.status, answer.text]).toEqual([400, 'Exception: Expected "inputs" to be a list'])
  }
})

test('case 15: a body that is no JSON object is an unrecognized format', async () => {
  for (const answer of [
    await ask(`${P}/m1/infer`, [1, 2]),
    await ask(`${P}/m1/infer`, 5),
    await askRaw(`${P}/m1/infer`, '{bad json'),
    await askRaw(`${P}/m1/infer`, Buffer.from('89504e47ff', 'hex'), 'application/octet-stream'),
  ]) {
    expect(answer.status).toBe(400)
    expect(answer.text).toMatch(/^ValueError: Unrecognized request format, caused by: ./)
  }
})

test('case 16: bad JSON under a JSON content type names the parser’s message', async () => {
  for (const type of ['application/json', 'json']) {
    const answer = await askRaw(`${P}/m1/infer`, '{bad json', type)
    expect(answer.status).toBe(400)
    expect(answer.text).toMatch(/^failed to json decode event, ./)
  }
})

test('case 17: an image body becomes the one input, as bytes', async () => {
  const images = createModelServer().addModel('img', { class: ReportsTypes })
  await images.start()
  onTestFinished(() => images.stop())
  const bytes = Buffer.from('89504e47ff', 'hex')
  const { body } = await images.test(`${P}/img/types`, { body: bytes, contentType: 'image/png' })
  expect(body).toEqual({ count: 1, bytes: [[0x89, 0x50, 0x4e, 0x47, 0xff]] })
})

test('case 18: a model of protocol v1 is served without the inputs check', async () => {
  const { body } = await ask(`${P}/v1proto/infer`, { inputs: [1, 2] })
  expect(body).toEqual({ id: 'evt-1', model_name: 'v1proto', outputs: [1, 2] })
  expect((await ask(`${P}/v1proto/infer`, { x: 1 })).status).toBe(200)
})

test('case 19: preprocess, validate and postprocess run in that order with the operation', async () => {
  const answer = (op: string) => ({
    id: 'evt-1',
    model_name: 'hooks',
    outputs: { got: { inputs: [2, 3], pre_op: op, validated: op } },
    post: true,
  })
  expect((await ask(`${P}/hooks/infer`, { inputs: [1, 2] })).body).toEqual(answer('infer'))
  expect((await ask(`${P}/hooks/predict`, { inputs: [1, 2] })).body).toEqual(answer('predict'))
  const many = await ask(`${P}/hooks/infer`, { inputs: [1, 2, 3, 4] })
  expect([many.status, many.text]).toEqual([400, 'ValueError: too many inputs'])
})

test('case 20: dict operations order the values as the model’s spec says', async () => {
  const outputs = async (path: string, inputs: unknown) => {
    const { body, text } = await ask(P + path, { inputs })
    expect(body, text).toMatchObject({ model_name: 'spec' })
    return (body as { outputs: unknown }).outputs
  }
  const list = [
    { b: 2, a: 1 },
    { a: 3, b: 4 },
  ]
  expect(await outputs('/spec/infer_dict', list)).toEqual({
    saw: [
      [1, 2],
      [3, 4],
    ],
    p: 'fromfn',
  })
  expect(await outputs('/spec/infer_dict', { b: 2, a: 1 })).toMatchObject({ saw: [1, 2] })
  expect(await outputs('/spec/predict_dict', [{ b: 2, a: 1, zz: 9 }])).toMatchObject({ saw: [[1, 2]] })
})

test('case 21: dict operations say what is wrong with keys, inputs or the spec', async () => {
  const prefix = 'MLRunInvalidArgumentError: '
  const missing = await ask(`${P}/spec/infer_dict`, { inputs: { a: 1 } })
  expect([missing.status, missing.text]).toEqual([
    400,
    `${prefix}Input dictionary don't contain all the necessary input keys : ['a', 'b']`,
  ])
  expect((await ask(`${P}/spec/infer_dict`, { inputs: [1, 2] })).text).toBe(
    `${prefix}When using predict_dict or infer_dict operation the inputs must be of type \`list[dict]\` or \`dict\` `,
  )
  expect((await ask(`${P}/m1/infer_dict`, { inputs: { a: 1 } })).text).toBe(
    `${prefix}In order to use predict_dict or infer_dict operation you have to provide \`model_path\` to the model server and to load it by \`load()\` function`,
  )
})

test('case 22: the body names the model only where the URL does not', async () => {
  expect((await ask('/', { model: 'm2', ...D })).body).toMatchObject({ model_name: 'm2', outputs: 1000 })
  expect((await ask('/', D)).body).toMatchObject({ model_name: 'm1', outputs: 500 })
  expect((await ask(`${P}/m1/infer`, { model: 'm2', ...D })).body).toMatchObject({ outputs: 500 })
})

test('case 23: a model that the body names wrongly, or nobody names, is missing', async () => {
  const text = (name: string) => `ValueError: model ${name} doesnt exist, available models: ${all}`
  const wrong = await ask('/', { model: 'zz', ...D })
  expect([wrong.status, wrong.text]).toEqual([400, text('zz')])
  const none = await ask('/', undefined, { method: 'POST' })
  expect([none.status, none.text]).toEqual([400, text('')])
})

test('case 24: headers give the event id and replace the path', async () => {
  const id = await server.test(`${P}/m1/infer`, { body: D, headers: { 'MLRUN-EVENT-ID': 'hdr-id' } })
  expect(id.body).toEqual({ ...five, id: 'hdr-id' })
  const path = await ask(`${P}/m1/infer`, D, { headers: { 'MLRUN-EVENT-PATH': '/v2/models/m2/infer' } })
  expect(path.body).toMatchObject({ model_name: 'm2', outputs: 1000 })
})
