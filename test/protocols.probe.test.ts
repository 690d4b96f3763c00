/** Readiness and answers of every serving binary, against a scripted server (infra-validation specification, section 6). */
import { Server, ServerCredentials } from '@grpc/grpc-js'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { ProbeRequest } from '../contracts/validation-requests.ts'
import type { BinaryKind } from '../contracts/validation-serving.ts'
import { deadlineIn } from '../protocols/deadline.ts'
import type { ProbeTarget } from '../protocols/probe.ts'
import { makePool } from '../protocols/probe-http.ts'
import { probes } from '../protocols/probes.ts'
import { sendRequest } from '../protocols/requests.ts'
import { statusMethod, statusRequestType, statusResponseType } from '../protocols/tensorflow-status.ts'
import {
  hang,
  json,
  resetAfterRequest,
  type Step,
  send,
  startScriptedServer,
} from './support/scripted-server.ts'

type Binary = Partial<ProbeTarget['binary']>

async function serverOf(...steps: [Step, ...Step[]]) {
  const server = await startScriptedServer()
  server.script(...steps)
  onTestFinished(() => server.close())
  return server
}

function targetOf(kind: BinaryKind, address: string, binary: Binary = {}): ProbeTarget {
  return { endpoints: { http: address }, modelName: 'iris', binary: { kind, ...binary } }
}

async function readiness(kind: BinaryKind, step: [Step, ...Step[]], binary?: Binary, logs?: string) {
  const server = await serverOf(...step)
  const target = {
    ...targetOf(kind, server.address, binary),
    ...(logs !== undefined && { logs: async () => logs }),
  }
  const seen = await probes[kind].ready(target)
  return { ...seen, paths: server.calls.map(({ method, path }) => `${method} ${path}`) }
}

async function answer(kind: BinaryKind, request: ProbeRequest, step: [Step, ...Step[]], binary?: Binary) {
  const server = await serverOf(...step)
  const dispatcher = makePool(1)
  onTestFinished(() => dispatcher.destroy())
  const phase = {
    target: targetOf(kind, server.address, binary),
    deadline: deadlineIn(30_000),
    requestTimeoutMs: 10_000,
  }
  const sent = await sendRequest(phase, request, 'golden-1', dispatcher)
  return { sent, server, body: () => JSON.parse(server.calls[0]?.body ?? 'null') }
}

const versions = (...states: string[]) =>
  json({
    model_version_status: states.map((state, index) => ({
      version: String(index + 1),
      state,
      status: {
        error_code: state === 'END' ? 'NOT_FOUND' : 'OK',
        error_message: state === 'END' ? 'corrupt' : '',
      },
    })),
  })
const noIndex = json({ error: 'Not Found' }, 404)
const custom = (readiness: NonNullable<Binary['readiness']>): Binary => ({ readiness })
const rule = { path: '/up', expectStatus: 200 }

describe('readiness', () => {
  const cases: [string, BinaryKind, [Step, ...Step[]], string, Binary?, string?][] = [
    ['CL-02: all versions AVAILABLE', 'tensorflow_serving', [versions('AVAILABLE', 'AVAILABLE')], 'READY'],
    ['no version yet', 'tensorflow_serving', [versions()], 'NOT_READY'],
    ['a version LOADING', 'tensorflow_serving', [versions('AVAILABLE', 'LOADING')], 'NOT_READY'],
    ['a version that ended', 'tensorflow_serving', [versions('LOADING', 'END')], 'UNAVAILABLE'],
    ['404', 'tensorflow_serving', [json({ error: 'no such model' }, 404)], 'NOT_READY'],
    ['200 with an empty body', 'open-inference-v2', [send('')], 'READY'],
    ['400, as MLServer says it', 'open-inference-v2', [send('', 400), noIndex], 'NOT_READY'],
    [
      '503, as KServe says it',
      'open-inference-v2',
      [json({ error: 'not ready' }, 503), noIndex],
      'NOT_READY',
    ],
    ['404', 'open-inference-v2', [json({ error: 'unknown' }, 404), noIndex], 'NOT_READY'],
    [
      'UNAVAILABLE with a reason in the index',
      'open-inference-v2',
      [send('', 400), json([{ name: 'iris', version: '1', state: 'UNAVAILABLE', reason: 'no such file' }])],
      'UNAVAILABLE',
    ],
    [
      'unloaded: UNAVAILABLE without a reason',
      'open-inference-v2',
      [send('', 400), json([{ name: 'iris', state: 'UNAVAILABLE', reason: '' }])],
      'NOT_READY',
    ],
    [
      'another model UNAVAILABLE',
      'open-inference-v2',
      [send('', 400), json([{ name: 'other', state: 'UNAVAILABLE', reason: 'no such file' }])],
      'NOT_READY',
    ],
    ['200 and ready', 'kserve-v1', [json({ name: 'iris', ready: true })], 'READY'],
    ['200 and not ready', 'kserve-v1', [json({ name: 'iris', ready: false })], 'NOT_READY'],
    ['503', 'kserve-v1', [json({ error: 'not ready' }, 503)], 'NOT_READY'],
    ['STARTING', 'cog', [json({ status: 'STARTING' })], 'NOT_READY'],
    ['UNHEALTHY', 'cog', [json({ status: 'UNHEALTHY' })], 'NOT_READY'],
    ['READY', 'cog', [json({ status: 'READY' })], 'READY'],
    ['BUSY', 'cog', [json({ status: 'BUSY' })], 'READY'],
    [
      'SETUP_FAILED',
      'cog',
      [json({ status: 'SETUP_FAILED', setup: { logs: 'no weights\n' } })],
      'UNAVAILABLE',
    ],
    ['DEFUNCT', 'cog', [json({ status: 'DEFUNCT' })], 'UNAVAILABLE'],
    ['200', 'mlrun-v2', [send('ready')], 'READY'],
    ['408', 'mlrun-v2', [send('model not ready', 408)], 'NOT_READY'],
    [
      '400 for a model it does not have',
      'mlrun-v2',
      [send('model iris doesnt exist, available models: m1', 400)],
      'UNAVAILABLE',
    ],
    ['HTTP status', 'custom', [send('up')], 'READY', custom({ http: rule })],
    ['another HTTP status', 'custom', [send('', 500)], 'NOT_READY', custom({ http: rule })],
    [
      'a JSON rule that holds',
      'custom',
      [json({ models: [{ state: 'up' }] })],
      'READY',
      custom({ http: { ...rule, jsonPath: 'models[0].state', equals: 'up' } }),
    ],
    [
      'a JSON rule that does not hold',
      'custom',
      [json({ models: [] })],
      'NOT_READY',
      custom({ http: { ...rule, jsonPath: 'models[0].state', equals: 'up' } }),
    ],
    [
      'a body that says it failed',
      'custom',
      [json({ state: 'broken' }, 500)],
      'UNAVAILABLE',
      custom({ http: rule, failWhen: { jsonPath: 'state', equals: 'broken' } }),
    ],
    ['an open port', 'custom', [send('')], 'READY', custom({ tcp: true })],
    ['a log line', 'custom', [send('')], 'READY', custom({ log: { pattern: 'ready \\d' } }), 'a\nready 1\n'],
    ['no log line yet', 'custom', [send('')], 'NOT_READY', custom({ log: { pattern: 'ready' } }), 'loading'],
    [
      'BY-03: a failure pattern in the logs',
      'custom',
      [send('', 500)],
      'UNAVAILABLE',
      custom({ http: rule, failurePattern: 'Initializing service error' }),
      'x\nInitializing service error: corrupt\n',
    ],
  ]
  test.each(cases)('%s: %s', async (_name, kind, step, status, binary, logs) => {
    expect(await readiness(kind, step, binary, logs)).toMatchObject({ status })
  })

  test('the reason of a failed load is the server’s own', async () => {
    const tensorflow = await readiness('tensorflow_serving', [versions('END')])
    expect(tensorflow.reason).toBe('corrupt')
    const cog = await readiness('cog', [json({ status: 'SETUP_FAILED', setup: { logs: 'no weights\n' } })])
    expect(cog.reason).toBe('SETUP_FAILED: no weights')
  })

  test('the named model is asked, not the server', async () => {
    expect((await readiness('tensorflow_serving', [versions('AVAILABLE')])).paths).toEqual([
      'GET /v1/models/iris',
    ])
    expect((await readiness('open-inference-v2', [send('')], { modelVersion: '2' })).paths).toEqual([
      'GET /v2/models/iris/versions/2/ready',
    ])
    expect((await readiness('kserve-v1', [json({ ready: true })])).paths).toEqual(['GET /v1/models/iris'])
    expect((await readiness('mlrun-v2', [send('')])).paths).toEqual(['GET /v2/models/iris/ready'])
  })

  const kinds: BinaryKind[] = ['tensorflow_serving', 'open-inference-v2', 'kserve-v1', 'cog', 'mlrun-v2']
  test.each(kinds)('CL-03: %s: a refused connection, a reset and silence are NOT_READY', async (kind) => {
    const gone = await startScriptedServer()
    await gone.close()
    expect(await probes[kind].ready(targetOf(kind, gone.address))).toMatchObject({ status: 'NOT_READY' })
    expect(await readiness(kind, [resetAfterRequest])).toMatchObject({ status: 'NOT_READY' })
    expect(await readiness(kind, [hang])).toMatchObject({
      status: 'NOT_READY',
      reason: 'no answer within 2000 ms',
    })
  })

  test('every poll has a connection of its own and closes it', async () => {
    const server = await serverOf(send(''))
    for (let poll = 0; poll < 3; poll++) await probes['mlrun-v2'].ready(targetOf('mlrun-v2', server.address))
    expect(server.connections).toBe(3)
    await expect.poll(() => server.open).toBe(0)
  })

  test('a cancelled poll ends at once with the reason', async () => {
    const server = await serverOf(hang)
    const cancelled = AbortSignal.abort(new Error('cancelled'))
    await expect(probes.cog.ready(targetOf('cog', server.address), cancelled)).rejects.toThrow('cancelled')
  })
})

describe('TensorFlow Serving over gRPC', () => {
  async function grpcTarget(response: object | undefined, binary: Binary = {}) {
    const seen: unknown[] = []
    const server = new Server()
    const definition = {
      path: statusMethod,
      requestStream: false as const,
      responseStream: false as const,
      requestSerialize: (value: Buffer) => value,
      requestDeserialize: (bytes: Buffer) =>
        statusRequestType.toObject(statusRequestType.decode(bytes), { longs: String }),
      responseSerialize: (value: object) => Buffer.from(statusResponseType.encode(value).finish()),
      responseDeserialize: (bytes: Buffer) => bytes,
    }
    server.addService(
      { getModelStatus: definition },
      {
        getModelStatus(call: { request: unknown }, reply: (error: object | null, value?: object) => void) {
          seen.push(call.request)
          if (response === undefined) reply({ code: 5, details: 'Could not find any versions' })
          else reply(null, statusResponseType.fromObject(response))
        },
      },
    )
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(error) : resolve(bound),
      ),
    )
    onTestFinished(() => server.forceShutdown())
    const target = targetOf('tensorflow_serving', '127.0.0.1:1', { statusVia: 'grpc', ...binary })
    return { seen, target: { ...target, endpoints: { http: '127.0.0.1:1', grpc: `127.0.0.1:${port}` } } }
  }
  const version = (state: string, errorMessage = '') => ({
    version: 1,
    state,
    status: { errorCode: 0, errorMessage },
  })

  test('DR-05 CL-02: the status is asked on the gRPC port, and AVAILABLE is READY', async () => {
    const { target, seen } = await grpcTarget(
      { modelVersionStatus: [version('AVAILABLE')] },
      { modelVersion: '3' },
    )
    expect(await probes.tensorflow_serving.ready(target)).toEqual({ status: 'READY', reason: '1 AVAILABLE' })
    expect(seen).toEqual([{ modelSpec: { name: 'iris', version: { value: '3' } } }])
  })

  test('a version that ended is UNAVAILABLE with its message; LOADING and none are NOT_READY', async () => {
    const status = async (...list: object[]) =>
      await probes.tensorflow_serving.ready((await grpcTarget({ modelVersionStatus: list })).target)
    expect(await status(version('END', 'corrupt'))).toEqual({ status: 'UNAVAILABLE', reason: 'corrupt' })
    expect(await status(version('LOADING'))).toMatchObject({ status: 'NOT_READY' })
    expect(await status()).toMatchObject({ status: 'NOT_READY' })
  })

  test('CL-03: an RPC error and a refused connection are NOT_READY', async () => {
    const { target } = await grpcTarget(undefined)
    expect(await probes.tensorflow_serving.ready(target)).toMatchObject({
      status: 'NOT_READY',
      reason: expect.stringContaining('Could not find any versions'),
    })
    const gone = await startScriptedServer()
    await gone.close()
    const refused = { ...target, endpoints: { grpc: gone.address } }
    expect(await probes.tensorflow_serving.ready(refused)).toMatchObject({ status: 'NOT_READY' })
  })
})

describe('answers', () => {
  const tensor = { name: 'x', shape: [1, 4], datatype: 'FP64' as const, data: [1, 2, 3, 4] }
  const output = { name: 'predict', shape: [1], datatype: 'INT64', data: [0] }
  const oip = (over: object) => json({ model_name: 'iris', id: 'golden-1', outputs: [output], ...over })

  test('open inference: JSON type and id are always sent, named outputs come back', async () => {
    const { sent, server, body } = await answer('open-inference-v2', { inputs: [tensor] }, [oip({})])
    expect(sent).toMatchObject({
      ok: true,
      outputs: { predict: { data: [0], shape: [1], datatype: 'INT64' } },
    })
    expect(body()).toEqual({ id: 'golden-1', inputs: [tensor] })
    expect(server.calls[0]).toMatchObject({ path: '/v2/models/iris/infer', method: 'POST' })
    expect(server.calls[0]?.headers['content-type']).toBe('application/json')
  })

  const badOnes: [string, Step, string][] = [
    ['no outputs', oip({ outputs: [] }), '200 without outputs'],
    ['another id', oip({ id: 'other' }), 'came back as other'],
    ['too few elements', oip({ outputs: [{ ...output, shape: [2, 2] }] }), 'needs 4'],
    ['a text error', send('Internal Server Error', 500), '500: Internal Server Error'],
    ['an error member', json({ error: 'ValueError : x' }, 500), '500: ValueError : x'],
    ['a detail text', json({ detail: 'Not Found' }, 404), '404: Not Found'],
    [
      'a detail list',
      json({ detail: [{ loc: ['body', 'inputs'], msg: 'Field required' }] }, 422),
      '422: body.inputs: Field required',
    ],
    ['no JSON', send('<html>'), '200 without outputs'],
  ]
  test.each(badOnes)('open inference: %s is a failed request', async (_name, step, message) => {
    const { sent } = await answer('open-inference-v2', { inputs: [tensor] }, [step])
    expect(sent).toMatchObject({ ok: false, error: 'bad', message: expect.stringContaining(message) })
  })

  test('numbers that Python prints bare are read', async () => {
    const step = send('{"predictions": [NaN, -Infinity, 1.5]}', 200, { 'content-type': 'application/json' })
    const { sent } = await answer('kserve-v1', { instances: [1] }, [step])
    expect(sent).toMatchObject({ ok: true, outputs: { predictions: { data: ['NaN', '-Infinity', 1.5] } } })
  })

  test('CL-04: classify, classify, regress reach their calls in order', async () => {
    const paths: string[] = []
    for (const method of ['classify', 'classify', 'regress'] as const) {
      const { sent, server } = await answer('tensorflow_serving', { method, examples: [{ x: 1 }] }, [
        json({ results: [[['a', 1]]] }),
      ])
      expect(sent).toMatchObject({ ok: true })
      paths.push(server.calls[0]?.path ?? '')
    }
    expect(paths.map((path) => path.split(':')[1])).toEqual(['classify', 'classify', 'regress'])
  })

  test('TensorFlow Serving: predict gives predictions, or outputs by name', async () => {
    const rows = await answer('tensorflow_serving', { method: 'predict', instances: [1] }, [
      json({ predictions: [2] }),
    ])
    expect(rows.sent).toMatchObject({ ok: true, outputs: { predictions: { data: [2] } } })
    expect(rows.body()).toEqual({ instances: [1] })
    const columns = await answer('tensorflow_serving', { method: 'predict', inputs: { x: [1] } }, [
      json({ outputs: { y: [2], z: [3] } }),
    ])
    expect(columns.sent).toMatchObject({ ok: true, outputs: { y: { data: [2] }, z: { data: [3] } } })
  })

  test('BY-04: HTTP 200 with status failed is a failed request', async () => {
    const { sent } = await answer('cog', { input: { sl: 'x' } }, [
      json({ status: 'failed', error: 'bad input' }),
    ])
    expect(sent).toMatchObject({ ok: false, error: 'bad', message: expect.stringContaining('bad input') })
  })

  test('a busy Cog server is asked again until it has a slot', async () => {
    const busy = json({ error: 'At capacity - all prediction slots busy' }, 409)
    const { sent, server } = await answer('cog', { input: {} }, [
      busy,
      busy,
      json({ status: 'succeeded', output: 1.77 }),
    ])
    expect(sent).toMatchObject({ ok: true, outputs: { output: { data: 1.77 } } })
    expect(server.calls).toHaveLength(3)
  })

  test('mlrun: any list goes in, any value comes out, errors are text', async () => {
    const good = await answer('mlrun-v2', { inputs: [[5.1, 3.5]] }, [json({ outputs: { label: 'a' } })])
    expect(good.sent).toMatchObject({ ok: true, outputs: { outputs: { data: { label: 'a' } } } })
    const failed = await answer('mlrun-v2', { inputs: [1] }, [send('ValueError: x', 400)])
    expect(failed.sent).toMatchObject({ ok: false, message: '400: ValueError: x' })
  })

  test('custom: method, path, headers and rules are as given', async () => {
    const inference = {
      method: 'PUT' as const,
      path: '/score',
      headers: { 'X-Key': 'a' },
      expectStatus: 201,
      outputs: 'result.y',
    }
    const { sent, server } = await answer('custom', { body: { x: 1 } }, [json({ result: { y: 7 } }, 201)], {
      inference,
    })
    expect(sent).toMatchObject({ ok: true, outputs: { body: { data: 7 } } })
    expect(server.calls[0]).toMatchObject({ method: 'PUT', path: '/score', body: '{"x":1}' })
    expect(server.calls[0]?.headers['x-key']).toBe('a')
    const broken = await answer('custom', { body: 1, expect: { jsonPath: 'ok', equals: true } }, [
      json({ ok: false }),
    ])
    expect(broken.sent).toMatchObject({ ok: false, message: expect.stringContaining('rule on ok') })
  })

  test('CL-06 BUG-10: a reset is a transport error, silence ends at the request’s limit', async () => {
    const reset = await answer('cog', { input: {} }, [resetAfterRequest])
    expect(reset.sent).toMatchObject({ ok: false, error: 'transport' })
    const server = await serverOf(hang)
    const dispatcher = makePool(1)
    onTestFinished(() => dispatcher.destroy())
    const phase = {
      target: targetOf('cog', server.address),
      deadline: deadlineIn(60_000),
      requestTimeoutMs: 50,
    }
    expect(await sendRequest(phase, { input: {} }, 'a', dispatcher)).toMatchObject({
      ok: false,
      error: 'timeout',
    })
  })
})
