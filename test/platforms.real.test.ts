/** The platforms against real model servers: KServe's own, MLServer, and ours. */
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { codeOf, ServiceError } from '../contracts/errors.ts'
import { makeHttpClient } from '../platforms/http.ts'
import { makeKserve } from '../platforms/kserve.ts'
import type { CallPlatform, CallRequest, ModelTarget } from '../platforms/platform.ts'
import { makeV2 } from '../platforms/v2.ts'
import {
  irisLabels,
  irisProbabilities,
  irisRows,
  pythonMissing,
  type ServerProcess,
  startKserve,
  startMlserver,
} from './support/model-servers.ts'
import { requirement } from './support/require.ts'
import { serveModel } from './support/served-model.ts'

const startMs = 120_000
const kserveSdk = requirement('python', () => pythonMissing('kserve'))
const mlserver = requirement('python', () => pythonMissing('mlserver'))

const platforms = {
  kserve: () =>
    makeKserve(makeHttpClient(), { namespace: 'default', customDomain: 'example.com', version: '0.13.1' }),
  v2: () => makeV2(makeHttpClient()),
}

/** Calls of one model at one server. */
function at(platform: CallPlatform, address: string, protocol: ModelTarget['protocol'], model = 'iris') {
  const target: ModelTarget = {
    name: model,
    version: '',
    platform: platform.name,
    address,
    upstreamName: model,
    protocol,
    timeoutMs: 30_000,
  }
  const request = (inputs: unknown, more: Partial<CallRequest> = {}): CallRequest => ({
    id: 'prediction-1',
    target,
    inputs: JSON.stringify(inputs),
    signal: new AbortController().signal,
    remainingMs: 30_000,
    ...more,
  })
  return {
    target,
    request,
    call: async (inputs: unknown, more?: Partial<CallRequest>) => {
      const { outputs, runningTime } = await platform.call(request(inputs, more))
      return { outputs: JSON.parse(outputs), runningTime }
    },
    failure: async (inputs: unknown, more?: Partial<CallRequest>): Promise<ServiceError> => {
      const error = await platform.call(request(inputs, more)).catch((thrown: unknown) => thrown)
      expect(error).toBeInstanceOf(ServiceError)
      return error as ServiceError
    },
    docs: async () => JSON.parse(await platform.docs(target, new AbortController().signal)),
  }
}

function made(name: keyof typeof platforms): CallPlatform {
  const platform = platforms[name]()
  onTestFinished(() => platform.close())
  return platform
}

const tensor = (rows: number[][]) => ({
  inputs: [{ name: 'x', shape: [rows.length, rows[0]?.length ?? 0], datatype: 'FP64', data: rows.flat() }],
})

interface InferAnswer {
  id: string
  outputs: { name: string; data: number[] | number[][] }[]
}

const dataOf = ({ outputs }: InferAnswer, name: string) =>
  outputs.find((output) => output.name === name)?.data.flat() ?? []

kserveSdk.describe("KServe's own server", () => {
  let server: ServerProcess
  beforeAll(async () => {
    server = await startKserve()
  }, startMs)
  afterAll(() => server?.stop(), startMs)

  test('V1: predictions are the outputs, whatever upload address goes along', async () => {
    const { call } = at(made('kserve'), server.address, 'v1')
    const answer = await call({ instances: irisRows, upload_webhook: 'http://127.0.0.1:1/upload' })
    expect(answer).toEqual({ outputs: { predictions: irisLabels }, runningTime: '' })
  })

  test('V1: a fault of the model is its own text', async () => {
    const { failure } = at(made('kserve'), server.address, 'v1')
    const error = await failure({ instances: [[1, 2]] })
    expect(error).toMatchObject({ code: 'platform_error', upstreamStatus: 500 })
    expect(error.message).toContain('features')
  })

  test('V2: named tensors come back under the id of the prediction', async () => {
    const { call } = at(made('kserve'), server.address, 'v2')
    const { outputs, runningTime } = await call(tensor(irisRows))
    expect(outputs.id).toBe('prediction-1')
    expect(dataOf(outputs, 'predict')).toEqual(irisLabels)
    expect(runningTime).toMatch(/^\d+\.\d{6}s$/)
  })

  test("V2: the caller's own id is left", async () => {
    const { call } = at(made('kserve'), server.address, 'v2')
    expect((await call({ id: 'mine', ...tensor(irisRows) })).outputs.id).toBe('mine')
  })

  test('V2: an input of the wrong form is the fault of the caller', async () => {
    const { failure } = at(made('kserve'), server.address, 'v2')
    expect(await failure({ inputs: [[1, 2]] })).toMatchObject({
      code: 'platform_rejected',
      upstreamStatus: 422,
    })
  })

  test('V2: a version in the path is not supported by this server', async () => {
    const { failure, target } = at(made('kserve'), server.address, 'v2')
    const error = await failure(tensor(irisRows), { target: { ...target, version: '1' } })
    expect(error).toMatchObject({ code: 'platform_error', upstreamStatus: 501 })
  })

  test.each(['v1', 'v2'] as const)('%s: an unknown model is the fault of the caller', async (protocol) => {
    const { failure } = at(made('kserve'), server.address, protocol, 'nope')
    const error = await failure(protocol === 'v1' ? { instances: irisRows } : tensor(irisRows))
    expect(error).toMatchObject({ code: 'platform_rejected', upstreamStatus: 404 })
    expect(error.message).toContain('nope')
  })

  test('V2: documents are the metadata of the model', async () => {
    expect(await at(made('kserve'), server.address, 'v2').docs()).toMatchObject({ name: 'iris' })
  })

  test('many calls share a connection', async () => {
    const { call } = at(made('kserve'), server.address, 'v2')
    const answers = await Promise.all(Array.from({ length: 20 }, () => call(tensor(irisRows))))
    for (const { outputs } of answers) expect(dataOf(outputs, 'predict')).toEqual(irisLabels)
  })
})

kserveSdk.describe("KServe's own server with a model that is not ready", () => {
  test.each(['v1', 'v2'] as const)(
    '%s: says so, and the call may be repeated',
    async (protocol) => {
      const server = await startKserve({ model: 'cold' })
      onTestFinished(() => server.stop())
      const { failure } = at(made('kserve'), server.address, protocol, 'cold')
      const error = await failure(protocol === 'v1' ? { instances: irisRows } : tensor(irisRows))
      expect(error).toMatchObject({ code: 'platform_busy', upstreamStatus: 503 })
    },
    startMs,
  )
})

mlserver.describe('MLServer', () => {
  let server: ServerProcess
  beforeAll(async () => {
    server = await startMlserver()
  }, startMs)
  afterAll(() => server?.stop(), startMs)

  const both = [
    ['v2', 'oip'],
    ['kserve', 'v2'],
  ] as const

  test.each(both)('%s %s: labels and probabilities of iris', async (name, protocol) => {
    const { call } = at(made(name), server.address, protocol)
    const outputs = [{ name: 'predict' }, { name: 'predict_proba' }]
    const answer = (await call({ ...tensor(irisRows), outputs })).outputs
    expect(answer.id).toBe('prediction-1')
    expect(dataOf(answer, 'predict')).toEqual(irisLabels)
    const probabilities = dataOf(answer, 'predict_proba')
    irisProbabilities.forEach((expected, row) => {
      expect(probabilities[row * 3 + row]).toBeCloseTo(expected, 2)
    })
  })

  test.each(both)(
    '%s %s: an unknown model and an unknown output are the fault of the caller',
    async (name, protocol) => {
      const platform = made(name)
      const unknown = await at(platform, server.address, protocol, 'nope').failure(tensor(irisRows))
      expect(unknown).toMatchObject({ code: 'platform_rejected', message: 'Model nope not found' })
      const outputs = [{ name: 'nothing' }]
      const error = await at(platform, server.address, protocol).failure({ ...tensor(irisRows), outputs })
      expect(error).toMatchObject({ code: 'platform_rejected', upstreamStatus: 400 })
    },
  )

  test.each(both)('%s %s: a wrong number of features is the error of the server', async (name, protocol) => {
    const error = await at(made(name), server.address, protocol).failure(tensor([[1, 2]]))
    expect(error).toMatchObject({ code: 'platform_error', message: 'Internal Server Error' })
  })

  test('v2 oip: documents are the metadata of the model', async () => {
    expect(await at(made('v2'), server.address, 'oip').docs()).toMatchObject({ name: 'iris' })
  })

  test("a body of mlrun's protocol is refused, with the faulty member", async () => {
    const error = await at(made('v2'), server.address, 'mlrun').failure({ inputs: irisRows })
    expect(error).toMatchObject({ code: 'platform_rejected', upstreamStatus: 422 })
    expect(error.message).toContain('inputs')
  })
})

const root = join(import.meta.dirname, '..')
async function serveOurs(module: string, ...flags: string[]): Promise<string> {
  const { origin } = await serveModel(process.execPath, ['modelserver/main.ts', module, ...flags], {
    cwd: root,
  })
  return new URL(origin).host
}

describe('our model server', () => {
  test('names flowers, under the id of the prediction', async () => {
    const address = await serveOurs('examples/iris/model.ts')
    const { call, docs } = at(made('v2'), address, 'mlrun')
    const { outputs, runningTime } = await call({ inputs: irisRows })
    expect(outputs).toMatchObject({
      id: 'prediction-1',
      model_name: 'iris',
      outputs: [{ label: 'setosa' }, { label: 'versicolor' }, { label: 'virginica' }],
    })
    expect(runningTime).toMatch(/^\d+\.\d{6}s$/)
    expect((await call({ id: 'mine', inputs: irisRows })).outputs.id).toBe('mine')
    expect(await docs()).toMatchObject({ name: 'iris' })
  })

  test('its faults are the fault of the caller, in its own words', async () => {
    const address = await serveOurs('examples/iris/model.ts')
    const platform = made('v2')
    const wrong = await at(platform, address, 'mlrun').failure({ inputs: [[1]] })
    expect(wrong).toMatchObject({ code: 'platform_rejected', upstreamStatus: 400 })
    expect(wrong.message).toContain('ValueError: inputs[0]: expected 4 numbers')
    const unknown = await at(platform, address, 'mlrun', 'nope').failure({ inputs: [] })
    expect(unknown).toMatchObject({ code: 'platform_rejected', upstreamStatus: 400 })
    expect(unknown.message).toContain('nope')
  })

  test('streams, fails in the middle, and is left alone when the caller goes', async () => {
    const address = await serveOurs('test/support/talker-model.ts', '--name', 'talker')
    const platform = made('v2')
    const { request, call } = at(platform, address, 'mlrun', 'talker')
    const stream = (text: string) =>
      platform.stream?.(request({ text_input: text })) ?? expect.fail('no stream')

    const words: string[] = []
    for await (const { data } of stream('to be')) words.push(data)
    expect(words).toEqual(['to', 'be'])

    const some: string[] = []
    const failing = async () => {
      for await (const { data } of stream('not fail')) some.push(data)
    }
    expect(codeOf(await failing().catch((error: unknown) => error))).toBe('platform_error')
    expect(some).toEqual(['not'])

    for await (const { data } of stream('forever')) if (data === '.') break
    await vi.waitFor(async () => expect((await call({ inputs: [] })).outputs.outputs).toEqual([3]), {
      timeout: 5_000,
      interval: 20,
    })
  })

  test('streams in the form of KServe V1 too', async () => {
    const address = await serveOurs('test/support/talker-model.ts', '--name', 'talker')
    const platform = makeKserve(makeHttpClient(), { namespace: 'n', customDomain: 'd', version: '0.10.2' })
    onTestFinished(() => platform.close())
    const { request } = at(platform, address, 'v1', 'talker')
    const words: string[] = []
    const stream = platform.stream?.(request({ text: 'or not' })) ?? expect.fail('no stream')
    for await (const { data } of stream) words.push(data)
    expect(words).toEqual(['or', 'not'])
  })
})
