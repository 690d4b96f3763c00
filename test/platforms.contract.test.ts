/** One contract for every platform whose answer comes on the request: codes, time, cancellation, connections, digits. */
import { createServer } from 'node:net'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { type ErrorCode, retryable, ServiceError } from '../contracts/errors.ts'
import type { PlatformName } from '../contracts/names.ts'
import { type HttpClientOptions, makeHttpClient } from '../platforms/http.ts'
import { makeK8s } from '../platforms/k8s.ts'
import { makeKserve } from '../platforms/kserve.ts'
import type { CallPlatform, CallRequest, CallResult, ModelTarget } from '../platforms/platform.ts'
import { makeV2 } from '../platforms/v2.ts'
import * as scripted from './support/scripted-server.ts'
import { type ScriptedServer, type Step, startScriptedServer } from './support/scripted-server.ts'

interface Variant {
  title: string
  platform: PlatformName
  protocol: ModelTarget['protocol']
  make(options?: HttpClientOptions): CallPlatform
  inputs: string
  /** A good answer, and what becomes of it. */
  answer: string
  /** Pieces around a number in the answer and in the outputs. */
  around: [string, string]
  path: string
  host?: string
  docs: { method: string; path: string; body: string }
}

const kserve = (options?: HttpClientOptions) =>
  makeKserve(makeHttpClient(options), { namespace: 'models', customDomain: 'example.org', version: '0.10.2' })
const tensors = '{"inputs":[{"name":"x","shape":[1,2],"datatype":"INT64","data":[1,2]}]}'

const variants: Variant[] = [
  {
    title: 'kserve v1',
    platform: 'kserve',
    protocol: 'v1',
    make: kserve,
    inputs: '{"instances":[[1,2]]}',
    answer: '{"predictions":[1]}',
    around: ['{"predictions":[', ']}'],
    path: '/v1/models/iris:predict',
    host: 'iris.models.example.org',
    docs: { method: 'GET', path: '/v1/docs/iris', body: '' },
  },
  {
    title: 'kserve v2',
    platform: 'kserve',
    protocol: 'v2',
    make: kserve,
    inputs: tensors,
    answer: '{"model_name":"iris","outputs":[{"name":"y","data":[1]}]}',
    around: ['{"outputs":[{"data":[', ']}]}'],
    path: '/v2/models/iris/infer',
    host: 'iris.models.example.org',
    docs: { method: 'GET', path: '/v2/models/iris', body: '' },
  },
  {
    title: 'k8s',
    platform: 'k8s',
    protocol: '',
    make: (options) => makeK8s(makeHttpClient(options)),
    inputs: '{"text":"a"}',
    answer: '{"output":["b"]}',
    around: ['{"output":[', ']}'],
    path: '/v1/predict',
    docs: { method: 'GET', path: '/v1/docs', body: '{"model_name":"iris"}' },
  },
  {
    title: 'v2 mlrun',
    platform: 'v2',
    protocol: 'mlrun',
    make: (options) => makeV2(makeHttpClient(options)),
    inputs: '{"inputs":[[5.1,3.5,1.4,0.2]]}',
    answer: '{"model_name":"iris","outputs":[0]}',
    around: ['{"outputs":[', ']}'],
    path: '/v2/models/iris/infer',
    docs: { method: 'GET', path: '/v2/models/iris', body: '' },
  },
  {
    title: 'v2 oip',
    platform: 'v2',
    protocol: 'oip',
    make: (options) => makeV2(makeHttpClient(options)),
    inputs: tensors,
    answer: '{"model_name":"iris","outputs":[{"name":"y","data":[1]}]}',
    around: ['{"outputs":[{"data":[', ']}]}'],
    path: '/v2/models/iris/infer',
    docs: { method: 'GET', path: '/v2/models/iris', body: '' },
  },
]

interface Stage {
  server: ScriptedServer
  target: ModelTarget
  call(more?: Partial<CallRequest>): Promise<CallResult>
  /** The error of a call that must fail. */
  failure(more?: Partial<CallRequest>): Promise<ServiceError>
  docs(): Promise<string>
}

async function stage(variant: Variant, step: Step, options?: HttpClientOptions): Promise<Stage> {
  const server = await startScriptedServer(step)
  const platform = variant.make(options)
  onTestFinished(async () => {
    await server.close()
    await platform.close()
  })
  return stageAt(variant, platform, server, server.address)
}

function stageAt(variant: Variant, platform: CallPlatform, server: ScriptedServer, address: string): Stage {
  const target: ModelTarget = {
    name: 'iris',
    version: '',
    platform: variant.platform,
    address,
    upstreamName: 'iris',
    protocol: variant.protocol,
    timeoutMs: 30_000,
  }
  const call = (more: Partial<CallRequest> = {}) =>
    platform.call({
      id: 'prediction-1',
      target,
      inputs: variant.inputs,
      signal: new AbortController().signal,
      remainingMs: 30_000,
      ...more,
    })
  return {
    server,
    target,
    call,
    failure: (more) => failureOf(call(more)),
    docs: () => platform.docs(target, new AbortController().signal),
  }
}

async function failureOf(promise: Promise<unknown>): Promise<ServiceError> {
  const error = await promise.then(
    (value) => expect.fail(`the call must fail, but gave ${JSON.stringify(value)}`),
    (thrown: unknown) => thrown,
  )
  expect(error).toBeInstanceOf(ServiceError)
  return error as ServiceError
}

async function closedPort(): Promise<string> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (typeof address !== 'object' || address === null) throw new Error('no address')
  return `127.0.0.1:${address.port}`
}

describe.each(variants)('$title', (variant) => {
  test('a good answer becomes the outputs, character for character', async () => {
    const { call, server } = await stage(variant, scripted.json(variant.answer))
    const { outputs } = await call()
    expect(outputs).toBe(variant.answer)
    expect(server.calls).toHaveLength(1)
    const [seen] = server.calls
    expect(seen).toMatchObject({ method: 'POST', path: variant.path })
    expect(seen?.headers).toMatchObject({
      'content-type': 'application/json',
      'idempotency-key': 'prediction-1',
      host: variant.host ?? server.address,
    })
  })

  test('null is an answer', async () => {
    const { call } = await stage(variant, scripted.json('null'))
    expect((await call()).outputs).toBe('null')
  })

  test('numbers keep their digits on both ways', async () => {
    const digits = '12345678901234567890,1.10,9007199254740993,1e2'
    const answer = variant.around.join(digits)
    const { call, server } = await stage(variant, scripted.json(answer))
    const { outputs } = await call({ inputs: `{"inputs":[${digits}],"x":${digits.slice(0, 20)}}` })
    expect(outputs).toBe(answer)
    expect(server.calls[0]?.body).toContain(digits)
  })

  test('more headers go along', async () => {
    const { call, server } = await stage(variant, scripted.json(variant.answer))
    await call({ headers: { traceparent: '00-abc-def-01' } })
    expect(server.calls[0]?.headers.traceparent).toBe('00-abc-def-01')
  })

  const statuses: [number, ErrorCode, boolean][] = [
    [400, 'platform_rejected', false],
    [401, 'platform_credentials', false],
    [403, 'platform_credentials', false],
    [404, 'platform_rejected', false],
    [408, variant.protocol === 'mlrun' ? 'platform_busy' : 'platform_timeout', variant.protocol === 'mlrun'],
    [422, 'platform_rejected', false],
    [429, 'platform_busy', true],
    [500, 'platform_error', false],
    [501, 'platform_error', false],
    [502, 'platform_bad_gateway', true],
    [503, 'platform_busy', true],
    [504, 'platform_gateway_timeout', true],
    [599, 'platform_error', false],
    [204, 'platform_bad_answer', false],
    [302, 'platform_bad_answer', false],
  ]
  test.each(statuses)('status %i is %s, retryable %s, and asked for once', async (status, code, again) => {
    const step = scripted.json(status === 204 ? '' : { error: 'the shape is wrong' }, status, {
      location: 'http://127.0.0.1:9/',
    })
    const { failure, server } = await stage(variant, step)
    const error = await failure()
    expect(error).toMatchObject({ code, legacyCode: 20007, upstreamStatus: status })
    expect(retryable[error.code]).toBe(again)
    if (status !== 204) expect(error.message).toBe('the shape is wrong')
    expect(server.calls).toHaveLength(1)
  })

  test.each([
    ['seconds', () => '2', 2_000, 2_000],
    ['a date', () => new Date(Date.now() + 30_000).toUTCString(), 20_000, 30_000],
    ['a date gone by', () => new Date(0).toUTCString(), 0, 0],
  ])('Retry-After as %s is kept', async (_form, header, least, most) => {
    const { failure } = await stage(variant, scripted.json({}, 429, { 'retry-after': header() }))
    const { retryAfterMs } = await failure()
    expect(retryAfterMs).toBeGreaterThanOrEqual(least)
    expect(retryAfterMs).toBeLessThanOrEqual(most)
  })

  test('a Retry-After that says nothing is left out', async () => {
    const { failure } = await stage(variant, scripted.json({}, 503, { 'retry-after': 'soon' }))
    expect((await failure()).retryAfterMs).toBeUndefined()
  })

  test('a platform that hangs is called once, then the prediction timed out and the connection is closed', async () => {
    const { failure, server, target } = await stage(variant, scripted.hang)
    const error = await failure({ target: { ...target, timeoutMs: 100 } })
    expect(error).toMatchObject({ code: 'prediction_timeout', legacyCode: 20000, message: 'predict timeout' })
    expect(retryable[error.code]).toBe(false)
    expect(server.calls).toHaveLength(1)
    await vi.waitFor(() => expect(server.calls[0]?.aborted).toBe(true), 5_000)
  })

  test('the rest of the budget limits an attempt, and none is made without', async () => {
    const { failure, server } = await stage(variant, scripted.drip(' ', 10))
    expect((await failure({ remainingMs: 100 })).code).toBe('prediction_timeout')
    expect(server.calls).toHaveLength(1)
    expect((await failure({ remainingMs: 0 })).code).toBe('prediction_timeout')
    expect(server.calls).toHaveLength(1)
  })

  test('a reset after the request was sent is a lost connection, not retryable', async () => {
    const { failure, server } = await stage(variant, scripted.resetAfterRequest)
    const error = await failure()
    expect(error).toMatchObject({ code: 'platform_connection_lost', legacyCode: 20003 })
    expect(retryable[error.code]).toBe(false)
    expect(server.calls).toHaveLength(1)
  })

  test('a reset in the middle of the answer is a lost connection', async () => {
    const { failure, server } = await stage(variant, scripted.resetMidBody())
    expect(await failure()).toMatchObject({ code: 'platform_connection_lost', legacyCode: 20004 })
    expect(server.calls).toHaveLength(1)
  })

  test('a refused connection is unreachable, retryable', async () => {
    const { server } = await stage(variant, scripted.hang)
    const platform = variant.make()
    onTestFinished(() => platform.close())
    const address = await closedPort()
    const error = await stageAt(variant, platform, server, address).failure()
    expect(error).toMatchObject({ code: 'platform_unreachable', legacyCode: 20003 })
    expect(retryable[error.code]).toBe(true)
    expect(error.message).not.toContain(address)
  })

  test('a host without an address is unreachable', async () => {
    const { server } = await stage(variant, scripted.hang)
    const platform = variant.make()
    onTestFinished(() => platform.close())
    const error = await stageAt(variant, platform, server, 'no-such-host.invalid:80').failure()
    expect(error.code).toBe('platform_unreachable')
    expect(error.message).not.toContain('no-such-host')
  })

  test.each([
    ['text', scripted.send('<html>hello</html>'), 20005],
    ['half of a JSON text', scripted.json('{"outputs":['), 20005],
    ['a list', scripted.json('[1]'), 20005],
    ['a string', scripted.json('"done"'), 20005],
    ['nothing', scripted.send(''), 20005],
  ])('an answer that is %s is a bad answer', async (_what, step, legacyCode) => {
    const { failure } = await stage(variant, step)
    const error = await failure()
    expect(error).toMatchObject({ code: 'platform_bad_answer', legacyCode })
    expect(retryable[error.code]).toBe(false)
  })

  test('bytes that are not HTTP are a lost connection', async () => {
    const { failure } = await stage(variant, scripted.rawBytes('SSH-2.0-nonsense\r\n'))
    expect((await failure()).code).toBe('platform_connection_lost')
  })

  test('bytes that are not UTF-8 are a bad answer', async () => {
    const { failure } = await stage(variant, (_call, response) => {
      response.writeHead(200)
      response.end(Buffer.from([0x7b, 0xff, 0xfe, 0x7d]))
    })
    expect(await failure()).toMatchObject({ code: 'platform_bad_answer', legacyCode: 20004 })
  })

  test('an answer above the limit has a code of its own and is not read on', async () => {
    const { failure, server } = await stage(variant, scripted.huge(64 * 1024 * 1024), {
      maxAnswerBytes: 1024 * 1024,
    })
    expect(await failure()).toMatchObject({ code: 'platform_answer_too_large', legacyCode: 20004 })
    await vi.waitFor(() => expect(server.calls[0]?.aborted).toBe(true), 5_000)
  })

  test('an error without end is cut off', async () => {
    const { failure } = await stage(variant, (_call, response) => {
      response.writeHead(500, { 'content-type': 'text/plain' })
      const timer = setInterval(() => response.write('x'.repeat(16_384)), 1)
      response.on('close', () => clearInterval(timer))
    })
    const error = await failure()
    expect(error.code).toBe('platform_error')
    expect(error.message.length).toBeLessThanOrEqual(500)
  })

  test('cancelling closes the connection within a second', async () => {
    const { failure, server } = await stage(variant, scripted.hang)
    const controller = new AbortController()
    const failed = failure({ signal: controller.signal })
    await vi.waitFor(() => expect(server.calls).toHaveLength(1), 5_000)
    controller.abort()
    expect((await failed).code).toBe('prediction_canceled')
    await vi.waitFor(() => expect(server.calls[0]?.aborted).toBe(true), 1_000)
    await vi.waitFor(() => expect(server.open).toBe(0), 1_000)
  })

  test('a call that was cancelled before it began is not made', async () => {
    const { failure, server } = await stage(variant, scripted.json(variant.answer))
    expect((await failure({ signal: AbortSignal.abort() })).code).toBe('prediction_canceled')
    expect(server.connections).toBe(0)
  })

  test('hundreds of calls share a few connections', async () => {
    const { call, server } = await stage(variant, scripted.json(variant.answer))
    let left = 400
    const lane = async () => {
      while (left-- > 0) await call()
    }
    await Promise.all(Array.from({ length: 16 }, lane))
    expect(server.calls).toHaveLength(400)
    expect(server.connections).toBeLessThanOrEqual(32)
  })

  test('a cancelled call leaves its neighbours alone', async () => {
    const { call, failure, server } = await stage(variant, scripted.after(300, scripted.json(variant.answer)))
    const controller = new AbortController()
    const failed = failure({ signal: controller.signal })
    const others = Promise.all([call(), call(), call()])
    await vi.waitFor(() => expect(server.calls).toHaveLength(4), 5_000)
    controller.abort()
    expect((await failed).code).toBe('prediction_canceled')
    for (const { outputs } of await others) expect(outputs).toBe(variant.answer)
  })

  test('messages show no address, URL, key or Go map', async () => {
    const { failure, server } = await stage(variant, scripted.hang)
    const port = server.address.split(':')[1]
    const leaks = [
      `dial tcp ${server.address}: connect: connection refused`,
      `see http://user:secret@internal.svc:8080/path?key=abc for map[a:1 b:map[c:2]]`,
      `upstream iris-predictor:9081 and [fd00::1]:8080 and 10.0.0.7 failed`,
    ]
    for (const leak of leaks) {
      server.script(scripted.json({ error: leak }, 500))
      const { message } = await failure()
      expect(message).not.toMatch(/127\.0\.0\.1|10\.0\.0\.7|map\[|secret|internal\.svc|9081|fd00|:\/\//)
      expect(message).not.toContain(`:${port}`)
    }
  })

  test.each([
    [
      'FastAPI faults',
      { detail: [{ loc: ['body', 'inputs'], msg: 'Field required' }] },
      'body.inputs: Field required',
    ],
    ['a detail', { detail: 'Not Found' }, 'Not Found'],
    ['a message', { message: 'no' }, 'no'],
    ['an error object', { error: { message: 'deep' } }, 'deep'],
    ['an empty object', {}, 'the platform answered 400'],
    ['two lines', 'ValueError: a\n  b', 'ValueError: a b'],
    ['a web page', '<!doctype html><h1>Bad</h1>', 'the platform answered 400'],
    ['text', 'plain words', 'plain words'],
  ])("the platform's own words are taken from %s", async (_form, body, message) => {
    const { failure } = await stage(variant, scripted.json(body, 400))
    expect((await failure()).message).toBe(message)
  })

  test('documents are read, and asked for again while the platform is not ready', async () => {
    const { docs, server } = await stage(variant, scripted.json({ name: 'iris' }))
    server.script(scripted.json({ error: 'not ready' }, 503), scripted.json({ name: 'iris' }))
    expect(await docs()).toBe('{"name":"iris"}')
    expect(server.calls).toHaveLength(2)
    expect(server.calls[1]).toMatchObject(variant.docs)
    expect(server.calls[1]?.headers.host).toBe(variant.host ?? server.address)
  })

  test('documents of a model that is not there are refused at once', async () => {
    const { docs, server } = await stage(variant, scripted.json({ error: 'no such model' }, 404))
    expect(await failureOf(docs())).toMatchObject({ code: 'platform_rejected', message: 'no such model' })
    expect(server.calls).toHaveLength(1)
  })
})

const byTitle = (title: string) => variants.find((variant) => variant.title === title) ?? expect.fail(title)

describe.each(['kserve v1', 'k8s'])('%s', (title) => {
  const variant = byTitle(title)

  test.each([
    ['"0.12s"', '0.12s'],
    ['1.250000', '1.250000'],
    ['3', '3'],
    ['null', ''],
  ])('running_time %s is taken out of the answer as text', async (given, runningTime) => {
    const { call } = await stage(
      variant,
      scripted.json(`{"output":[12345678901234567890],"running_time":${given}}`),
    )
    expect(await call()).toEqual({ outputs: '{"output":[12345678901234567890]}', runningTime })
  })

  test('an answer without running_time has an empty one', async () => {
    const { call } = await stage(variant, scripted.json(variant.answer))
    expect((await call()).runningTime).toBe('')
  })
})

test('k8s sends the name and the inputs as they are', async () => {
  const { call, server } = await stage(byTitle('k8s'), scripted.json('{}'))
  await call({ inputs: '{"n":1.0,"upload_webhook":"http://u/upload"}' })
  expect(server.calls[0]?.body).toBe(
    '{"model_name":"iris","inputs":{"n":1.0,"upload_webhook":"http://u/upload"}}',
  )
})

describe.each(['kserve v2', 'v2 mlrun', 'v2 oip'])('%s', (title) => {
  const variant = byTitle(title)

  test('the running time is measured', async () => {
    const { call } = await stage(variant, scripted.after(20, scripted.json(variant.answer)))
    const { runningTime } = await call()
    expect(runningTime).toMatch(/^\d+\.\d{6}s$/)
    expect(Number.parseFloat(runningTime)).toBeGreaterThan(0.01)
  })

  test.each([
    ['absent', '{"inputs":[1.0]}', '{"id":"prediction-1","inputs":[1.0]}'],
    ['absent in an empty object', ' { } ', '{"id":"prediction-1"} '],
    ['null', '{"id":null,"inputs":[1.0]}', '{"id":"prediction-1","inputs":[1.0]}'],
    ['deeper only', '{"inputs":[{"id":"x"}]}', '{"id":"prediction-1","inputs":[{"id":"x"}]}'],
    ['given', '{"inputs":[1.0],"id":"mine"}', '{"inputs":[1.0],"id":"mine"}'],
    ['given as an escape', '{"\\u0069d":"mine"}', '{"\\u0069d":"mine"}'],
  ])('an id that is %s is put in or left', async (_what, inputs, body) => {
    const { call, server } = await stage(variant, scripted.json('null'))
    await call({ inputs })
    expect(server.calls[0]?.body).toBe(body)
  })

  test('an answer with another id is a bad answer', async () => {
    const answer = (id: string) => scripted.json(variant.answer.replace('{', `{"id":${id},`))
    const { call, failure, server } = await stage(variant, answer('"other"'))
    expect(await failure()).toMatchObject({ code: 'platform_bad_answer', legacyCode: 20005 })
    server.script(answer('"prediction-1"'))
    await call()
    server.script(answer('null'))
    await call()
    server.script(answer('"mine"'))
    await call({ inputs: '{"id":"mine","inputs":[]}' })
  })

  test('a version goes into the path', async () => {
    const { call, server, target } = await stage(variant, scripted.json(variant.answer))
    await call({ target: { ...target, version: 'v 1' } })
    expect(server.calls[0]?.path).toBe('/v2/models/iris/versions/v%201/infer')
  })
})

test.each(['a/../b', 'a?x', 'a%2fb', 'a@b', '', '.', 'a.', '-a', 'a'.repeat(254)])(
  'kserve makes no call for the model name %j',
  async (upstreamName) => {
    for (const title of ['kserve v1', 'kserve v2']) {
      const { failure, server, target } = await stage(byTitle(title), scripted.json('{}'))
      expect((await failure({ target: { ...target, upstreamName } })).code).toBe('invalid_input')
      expect(server.connections).toBe(0)
    }
  },
)

test('v2 keeps a model name inside one segment of the path', async () => {
  const { call, failure, server, target } = await stage(byTitle('v2 mlrun'), scripted.json('{}'))
  await call({ target: { ...target, upstreamName: 'owner/na me?' } })
  expect(server.calls[0]?.path).toBe('/v2/models/owner%2Fna%20me%3F/infer')
  expect((await failure({ target: { ...target, upstreamName: '..' } })).code).toBe('invalid_input')
})

test('a connection that the server closed while idle is not used again', async () => {
  const variant = byTitle('v2 mlrun')
  const server = await startScriptedServer(scripted.json(variant.answer), { keepAliveTimeoutMs: 50 })
  const platform = variant.make({ keepAliveMs: 60_000 })
  onTestFinished(async () => {
    await server.close()
    await platform.close()
  })
  const { call } = stageAt(variant, platform, server, server.address)
  for (let round = 0; round < 5; round++) {
    await call()
    await vi.waitFor(() => expect(server.open).toBe(0), 10_000)
  }
  expect(server.calls).toHaveLength(5)
})
