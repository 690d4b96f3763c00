/** Conformance cases 50 to 57 of the model-server specification: the Open Inference Protocol over REST. */

import { expect, onTestFinished, test } from 'vitest'
import {
  createModelServer,
  type InferRequest,
  type ModelServer,
  type TestOptions,
  V2ModelServer,
} from '../modelserver/index.ts'
import { Cold, Dbl, modelOf, RowSums } from './support/sample-models.ts'

const P = '/v2/models'
const T = { id: '42', inputs: [{ name: 'input0', shape: [2, 2], datatype: 'FP32', data: [1, 2, 3, 4] }] }
const U = {
  model_name: 'dbl',
  id: '42',
  outputs: [{ name: 'output0', shape: [2], datatype: 'FP32', data: [6, 14] }],
}
const missing = { error: 'Model with name nope does not exist.' }
const cold = { error: 'Model with name cold is not ready.' }
const notReady = { error: 'Server is not ready.' }

/** oip, no tensors declared. */
class Plain extends V2ModelServer<InferRequest> {
  override load(): void {}
  override predict({ inputs }: InferRequest): unknown {
    return inputs
  }
}

/** Server O of the specification; `cold` loads in the background and never ends. */
async function serverO(models = ['dbl', 'plain', 'cold', 'p1']): Promise<ModelServer> {
  const server = createModelServer({ protocol: 'oip', loadMode: 'async' })
  const all = {
    dbl: { class: Dbl },
    plain: { class: Plain },
    cold: { class: Cold },
    p1: { class: RowSums, protocol: 'v1' },
  }
  for (const [key, settings] of Object.entries(all)) if (models.includes(key)) server.addModel(key, settings)
  onTestFinished(() => server.stop({ gracePeriodMs: 100 }))
  await server.start()
  await Promise.all(server.routes.all().map(({ key, host }) => (key === 'cold' ? undefined : host?.loading)))
  return server
}

function ask(server: ModelServer, path: string, body?: unknown, options: TestOptions = {}) {
  const given = body === undefined ? {} : { body, contentType: 'application/json' }
  return server.test(path, { eventId: 'evt-1', silent: true, ...given, ...options })
}

test('case 50: the server is live at once and ready when every model is', async () => {
  const server = await serverO()
  expect((await ask(server, '/v2/health/live')).body).toEqual({ live: true })
  const waiting = await ask(server, '/v2/health/ready')
  expect([waiting.status, waiting.body]).toEqual([503, notReady])
  expect((await ask(await serverO(['dbl', 'plain', 'p1']), '/v2/health/ready')).body).toEqual({ ready: true })
  const empty = await ask(await serverO([]), '/v2/health/ready')
  expect([empty.status, empty.body]).toEqual([503, notReady])
})

test('case 51: the list and the metadata name models and tensors', async () => {
  const server = await serverO()
  expect((await ask(server, P)).body).toEqual({ models: ['dbl', 'plain', 'cold', 'p1'] })
  expect((await ask(server, `${P}/dbl`)).body).toEqual({
    name: 'dbl',
    platform: '',
    inputs: [{ name: 'input0', datatype: 'FP32', shape: [-1, 2] }],
    outputs: [{ name: 'output0', datatype: 'FP32', shape: [-1] }],
  })
  expect((await ask(server, '/v2')).body).toEqual({
    name: 'perdure',
    version: '',
    extensions: ['binary_tensor_data', 'model_repository', 'generate'],
  })
})

test('case 52: readiness of a model is 200, 503 or 404', async () => {
  const server = await serverO()
  expect((await ask(server, `${P}/dbl/ready`)).body).toEqual({ name: 'dbl', ready: true })
  const loading = await ask(server, `${P}/cold/ready`)
  expect([loading.status, loading.body]).toEqual([503, cold])
  expect(loading.headers.get('retry-after')).toBe('1')
  for (const path of ['/nope/ready', '/nope']) {
    const answer = await ask(server, P + path)
    expect([answer.status, answer.body]).toEqual([404, missing])
  }
})

test('case 53: tensors flat or nested, with or without requested outputs, type or id', async () => {
  const server = await serverO()
  const [input] = T.inputs
  const nested = {
    ...T,
    inputs: [
      {
        ...input,
        data: [
          [1, 2],
          [3, 4],
        ],
      },
    ],
  }
  for (const body of [T, nested, { ...T, outputs: [{ name: 'output0' }] }]) {
    const answer = await ask(server, `${P}/dbl/infer`, body)
    expect(answer.body, answer.text).toEqual(U)
    expect(answer.contentType).toBe('application/json')
  }
  const untyped = await server.test(`${P}/dbl/infer`, { body: JSON.stringify(T), eventId: 'evt-1' })
  expect(untyped.body).toEqual(U)
  const { id: _, ...anonymous } = T
  expect((await ask(server, `${P}/dbl/infer`, anonymous)).body).toEqual({ ...U, id: 'evt-1' })
})

test('case 54: missing is 404, loading 503, a failing model 500', async () => {
  const server = await serverO()
  const gone = await ask(server, `${P}/nope/infer`, T)
  expect([gone.status, gone.body]).toEqual([404, missing])
  const loading = await ask(server, `${P}/cold/infer`, T)
  expect([loading.status, loading.body]).toEqual([503, cold])
  const boom = await ask(server, `${P}/dbl/infer`, { ...T, parameters: { boom: true } })
  expect([boom.status, boom.body]).toEqual([500, { error: 'model exploded' }])
})

test('case 55: a malformed request is a 400 that says what is wrong', async () => {
  const server = await serverO()
  const [input] = T.inputs
  const { datatype: _, ...untyped } = input!
  const cases: Array<[unknown, string | RegExp]> = [
    [{}, 'Expected key "inputs" in request body'],
    [{ inputs: 5 }, 'Expected "inputs" to be a list'],
    [{ inputs: [] }, '"inputs" must hold at least one tensor'],
    ['{not json', /^Unrecognized request format/],
    [{ inputs: [[1, 2]] }, 'inputs[0]: a tensor object is required'],
    [{ inputs: [untyped] }, 'inputs[0]: datatype is required'],
    [{ inputs: [{ ...input, datatype: 'FP99' }] }, 'inputs[0]: unknown datatype FP99'],
    [
      { inputs: [{ ...input, shape: [3, 2], data: [1, 2] }] },
      'inputs[0]: shape [3,2] needs 6 elements, got 2',
    ],
    [{ ...T, outputs: [{ name: 'zzz' }] }, 'unknown output zzz'],
  ]
  for (const [body, text] of cases) {
    const answer = await ask(server, `${P}/dbl/infer`, body)
    expect(answer.status, answer.text).toBe(400)
    const { error } = answer.body as { error: string }
    if (typeof text === 'string') expect(error).toBe(text)
    else expect(error).toMatch(text)
  }
  const empty = await ask(server, `${P}/dbl/infer`, undefined, { method: 'POST' })
  expect(empty.status, empty.text).toBe(400)
})

test('case 56: a wrong method is 405 with Allow, an unknown path or operation 404', async () => {
  const server = await serverO()
  const wrong = await ask(server, `${P}/dbl/infer`)
  expect([wrong.status, wrong.body]).toEqual([405, { error: 'Method Not Allowed' }])
  expect(wrong.headers.get('allow')).toBe('POST')
  const ready = await ask(server, `${P}/dbl/ready`, T)
  expect([ready.status, ready.headers.get('allow')]).toEqual([405, 'GET'])
  for (const [path, body] of [['/v3/x'], [`${P}/dbl/predict`, T], [`${P}/dbl/infer_dict`, T]] as const) {
    const answer = await ask(server, path, body)
    expect([answer.status, answer.body], path).toEqual([404, { error: 'Not Found' }])
  }
})

test('case 57: binary tensors in and out, mixed with JSON, and refused without the header', async () => {
  const server = await serverO()
  const tensor = { name: 'input0', shape: [2, 2], datatype: 'FP32', parameters: { binary_data_size: 16 } }
  const raw = Buffer.from('0000803f000000400000404000008040', 'hex')
  const send = (head: object, withLength = true) => {
    const json = Buffer.from(JSON.stringify(head))
    return server.test(`${P}/dbl/infer`, {
      body: Buffer.concat([json, raw]),
      contentType: 'application/octet-stream',
      headers: withLength ? { 'Inference-Header-Content-Length': String(json.byteLength) } : {},
      silent: true,
    })
  }
  const request = { id: 'b1', inputs: [tensor] }
  const binary = await send({ ...request, outputs: [{ name: 'output0', parameters: { binary_data: true } }] })
  expect(binary.status, binary.text).toBe(200)
  expect(binary.contentType).toBe('application/octet-stream')
  const length = Number(binary.headers.get('inference-header-content-length'))
  const bytes = Buffer.from(binary.body as Uint8Array)
  const head = JSON.parse(bytes.subarray(0, length).toString())
  expect(head).toEqual({
    model_name: 'dbl',
    id: 'b1',
    outputs: [{ name: 'output0', shape: [2], datatype: 'FP32', parameters: { binary_data_size: 8 } }],
  })
  expect(bytes.subarray(length).toString('hex')).toBe('0000c04000006041')
  expect((await send(request)).body).toEqual({ ...U, id: 'b1' })
  const bare = await send(request, false)
  expect([bare.status, bare.body]).toEqual([
    400,
    { error: "received byte inputs, but the 'Inference-Header-Content-Length' header is missing" },
  ])
})

test('explain of an oip model answers the envelope, and a hook that is missing is a 501', async () => {
  const server = await serverO()
  const answer = await ask(server, `${P}/dbl/explain`, T)
  expect([answer.status, answer.body]).toEqual([501, { error: 'explain is not implemented for model dbl' }])
  const generate = await ask(server, `${P}/dbl/generate`, { text_input: 'x' })
  expect([generate.status, generate.body]).toEqual([
    501,
    { error: 'generate is not implemented for model dbl' },
  ])
})

test('an unversioned oip name means its highest version, and metadata lists them', async () => {
  const server = createModelServer({ protocol: 'oip' })
  for (const key of ['dbl:2', 'dbl:10', 'dbl:9']) server.addModel(key, { class: Dbl })
  onTestFinished(() => server.stop())
  await server.start()
  expect((await ask(server, `${P}/dbl/infer`, T)).body).toEqual({ ...U, model_version: '10' })
  expect((await ask(server, `${P}/dbl/versions/2`)).body).toMatchObject({
    name: 'dbl',
    versions: ['2', '10', '9'],
  })
})

test('64-bit integers pass exactly, and oip and v2 models share a server with their own error forms', async () => {
  const server = createModelServer()
  server.addModel('plain', { class: Plain, protocol: 'oip' })
  server.addModel('old', { class: modelOf({ predict: () => Promise.reject(new Error('no')) }) })
  onTestFinished(() => server.stop())
  await server.start()
  const json =
    '{"inputs":[{"name":"x","shape":[2],"datatype":"INT64","data":[9007199254740993,-9223372036854775808]}]}'
  const answer = await server.test(`${P}/plain/infer`, { body: json })
  expect(answer.text).toContain('"data":[9007199254740993,-9223372036854775808]')
  expect((await ask(server, `${P}/old/infer`, { inputs: [] })).text).toBe('Error: no')
  expect((await ask(server, `${P}/plain/infer`, {})).body).toEqual({
    error: 'Expected key "inputs" in request body',
  })
  expect((await ask(server, `${P}/nope/infer`, T)).text).toMatch(/^ValueError: model nope doesnt exist/)
})
