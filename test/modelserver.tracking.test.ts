/** Records, streams and endpoint records of the model server, each by itself: specification section 5. */

import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import fc from 'fast-check'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import {
  DummyStream,
  type EndpointRecord,
  ErrorStream,
  endpointUid,
  formatWhen,
  loggedPair,
  MemoryEndpointStore,
  openStream,
  parseFunctionUri,
  planTracking,
  Recorder,
  registerEndpoint,
  type StreamTarget,
  snapshot,
  startClock,
} from '../modelserver/tracking/index.ts'
import { json, startScriptedServer } from './support/scripted-server.ts'

const soon = { timeout: 30_000, interval: 20 }

const whenForm = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}\+00:00$/

interface RecorderSetup {
  sample?: number
  batch?: number
  target?: StreamTarget
  onFailure?: (records: number, error: unknown) => void
}

/** A recorder of model `my:v3` whose labels and metrics the test may change. */
function makeRecorder({ sample = 1, batch = 1, target, onFailure }: RecorderSetup = {}) {
  const dummy = new DummyStream()
  const labels: Record<string, unknown> = { team: 'x' }
  const metrics: Record<string, unknown> = {}
  const model = {
    className: 'Metric',
    name: 'my',
    version: 'v3',
    labels: () => labels,
    metrics: () => metrics,
  }
  const plan = {
    streamPath: 'dummy://',
    target: target ?? dummy,
    functionUri: 'default/tests',
    sample,
    batch,
  }
  const recorder = new Recorder(model, plan, { host: 'here', ...(onFailure ? { onFailure } : {}) })
  const succeed = (input: unknown) =>
    recorder.success({
      start: startClock(),
      op: 'infer',
      request: { inputs: [input] },
      resp: { outputs: [input] },
    })
  return { recorder, labels, metrics, events: dummy.eventList, succeed }
}

const base = {
  class: 'Metric',
  worker: 0,
  model: 'my',
  version: 'v3',
  host: 'here',
  function_uri: 'default/tests',
  labels: { team: 'x' },
}

describe('records', () => {
  test('a success is one record with the base, request, op, resp, when, microsec and metrics', () => {
    const { recorder, metrics, events } = makeRecorder()
    metrics.last = 1
    recorder.success({ start: startClock(), op: 'infer', request: { inputs: [1] }, resp: { outputs: [2] } })
    expect(events).toEqual([
      {
        ...base,
        request: { inputs: [1] },
        op: 'infer',
        resp: { outputs: [2] },
        when: expect.stringMatching(whenForm),
        microsec: expect.any(Number),
        metrics: { last: 1 },
      },
    ])
    expect(events[0]).toHaveProperty('microsec', expect.toSatisfy(Number.isInteger))
  })

  test('empty labels and metrics are left out', () => {
    const { labels, events, succeed } = makeRecorder()
    delete labels.team
    succeed(1)
    expect(events[0]).not.toHaveProperty('labels')
    expect(events[0]).not.toHaveProperty('metrics')
  })

  test('microsec is the whole duration, also above one second', () => {
    const { recorder, events } = makeRecorder()
    const { epochMs, monoMs } = startClock()
    recorder.success({ start: { epochMs, monoMs: monoMs - 1200 }, op: 'infer', request: {}, resp: {} })
    expect(events[0]).toHaveProperty(
      'microsec',
      expect.toSatisfy((value: number) => value >= 1_200_000),
    )
  })

  test('a record shows the moment it was made: later changes do not reach it', () => {
    const { recorder, metrics, labels, events } = makeRecorder({ batch: 2 })
    const request = { inputs: [{ a: 1 }] }
    const resp = { outputs: [1] }
    metrics.last = { value: 1 }
    recorder.success({ start: startClock(), op: 'infer', request, resp })
    request.inputs[0]!.a = 9
    resp.outputs.push(9)
    metrics.last = { value: 2 }
    recorder.success({ start: startClock(), op: 'infer', request, resp })
    labels.team = 'y'
    expect(events).toMatchObject([
      {
        labels: { team: 'x' },
        values: [
          [
            { inputs: [{ a: 1 }] },
            'infer',
            { outputs: [1] },
            expect.any(String),
            expect.any(Number),
            { last: { value: 1 } },
          ],
          [
            { inputs: [{ a: 9 }] },
            'infer',
            { outputs: [1, 9] },
            expect.any(String),
            expect.any(Number),
            { last: { value: 2 } },
          ],
        ],
      },
    ])
  })

  test('sample N records every N-th success', () => {
    const { events, succeed } = makeRecorder({ sample: 2 })
    for (const input of [1, 2, 3, 4, 5]) succeed(input)
    expect(events).toMatchObject([{ request: { inputs: [2] } }, { request: { inputs: [4] } }])
  })

  test('batch N gathers N sampled successes into one record, in order, and a flush sends the rest', async () => {
    const { recorder, events, succeed } = makeRecorder({ batch: 2, sample: 2 })
    for (const input of [1, 2, 3, 4, 5, 6]) succeed(input)
    const row = (input: number) => [
      { inputs: [input] },
      'infer',
      { outputs: [input] },
      expect.stringMatching(whenForm),
      expect.any(Number),
      {},
    ]
    const headers = ['request', 'op', 'resp', 'when', 'microsec', 'metrics']
    expect(events).toEqual([{ ...base, headers, values: [row(2), row(4)] }])
    await recorder.flush()
    expect(events.slice(1)).toEqual([{ ...base, headers, values: [row(6)] }])
    await recorder.flush()
    expect(events).toHaveLength(2)
  })

  test('an error is recorded at once with the id in its request, and counts in no sample or batch', async () => {
    const { recorder, events, succeed } = makeRecorder({ batch: 2, sample: 2 })
    const failure = {
      start: startClock(),
      op: 'infer',
      request: { inputs: [-1] },
      id: 'evt-1',
      error: 'negative',
    }
    succeed(1)
    recorder.error(failure)
    expect(events).toEqual([
      {
        ...base,
        request: { inputs: [-1], id: 'evt-1' },
        op: 'infer',
        when: expect.stringMatching(whenForm),
        error: 'negative',
      },
    ])
    recorder.error({ ...failure, request: 'text' })
    expect(events[1]).toMatchObject({ request: 'text' })
    succeed(2)
    await recorder.flush()
    expect(events[2]).toMatchObject({
      values: [[{ inputs: [2] }, 'infer', { outputs: [2] }, expect.any(String), expect.any(Number), {}]],
    })
  })

  test('loggedResults replace request and answer; [null, null] leaves them', () => {
    expect(loggedPair('e', { r: 1 }, { a: 1 }, [[[1]], [2]])).toEqual({
      request: { id: 'e', inputs: [[1]] },
      resp: { outputs: [2] },
    })
    expect(loggedPair('e', {}, {}, [null, [2]])).toEqual({
      request: { id: 'e', inputs: [] },
      resp: { outputs: [2] },
    })
    expect(loggedPair('e', { r: 1 }, { a: 1 }, [null, null])).toEqual({ request: { r: 1 }, resp: { a: 1 } })
  })

  test('when is UTC with six decimals, 32 characters, at any instant', () => {
    expect(formatWhen(1_795_311_246_602.644)).toBe('2026-11-22 01:34:06.602644+00:00')
    expect(formatWhen(1_795_311_246_000)).toBe('2026-11-22 01:34:06.000000+00:00')
    const instants = fc.double({ min: 0, max: 4e12, noNaN: true })
    fc.assert(
      fc.property(instants, (epochMs) => {
        const when = formatWhen(epochMs)
        expect(when).toMatch(whenForm)
        expect(Math.abs(Date.parse(`${when.slice(0, 23).replace(' ', 'T')}Z`) - epochMs)).toBeLessThanOrEqual(
          1,
        )
      }),
    )
  })
})

describe('snapshots', () => {
  test('hold what JSON can hold, digit for digit, whatever they are given', () => {
    const cyclic: Record<string, unknown> = {}
    cyclic.self = cyclic
    const value = {
      big: 2n ** 60n,
      small: 7n,
      list: new Float64Array([1.5, Number.NaN]),
      exact: new BigInt64Array([-(2n ** 62n)]),
      bytes: new Uint8Array([1, 2]),
      date: new Date(0),
      gone: undefined,
      call: () => 1,
      inf: Number.POSITIVE_INFINITY,
      ['__proto__']: 1,
    }
    expect(JSON.stringify(snapshot(value))).toBe(
      '{"big":1152921504606846976,"small":7,"list":[1.5,null],"exact":[-4611686018427387904],"bytes":"AQI=",' +
        '"date":"1970-01-01T00:00:00.000Z","inf":null,"__proto__":1}',
    )
    expect(snapshot(cyclic)).toBe('<not recordable: it contains itself>')
  })

  test('equal what JSON would carry, for any JSON value', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(JSON.stringify(snapshot(value))).toBe(JSON.stringify(value))
      }),
    )
  })
})

describe('pushing', () => {
  test('a stream that throws or rejects is counted and the request goes on', async () => {
    const failures: number[] = []
    let push: () => unknown = () => {
      throw new Error('down')
    }
    const { recorder, succeed } = makeRecorder({
      target: { push: () => push() },
      onFailure: (count) => failures.push(count),
    })
    succeed(1)
    expect(failures).toEqual([1])
    push = async () => {
      throw new Error('down')
    }
    succeed(2)
    await recorder.flush()
    expect(failures).toEqual([1, 1])
  })

  test('a slow stream gets what waited for it, in order, and a flush waits for it', async () => {
    const seen: unknown[][] = []
    const releases: Array<() => void> = []
    const target = {
      push: (records: unknown[]) =>
        new Promise<void>((resolve) => {
          seen.push(records.map((record) => (record as { request: { inputs: unknown[] } }).request.inputs[0]))
          releases.push(resolve)
        }),
    }
    const { recorder, succeed } = makeRecorder({ target })
    for (const input of [1, 2, 3]) succeed(input)
    expect(seen).toEqual([[1]])
    const flushed = recorder.flush()
    releases[0]?.()
    await vi.waitFor(() => expect(seen).toEqual([[1], [2, 3]]), soon)
    releases[1]?.()
    await flushed
  })

  test('a stream that hangs does not hold up a stop: what it did not take is counted', async () => {
    const failures: number[] = []
    const target = { push: () => new Promise<void>(() => {}) }
    const { recorder, succeed } = makeRecorder({ target, onFailure: (count) => failures.push(count) })
    for (const input of [1, 2, 3]) succeed(input)
    await recorder.flush(20)
    expect(failures).toEqual([2])
  })
})

describe('streams', () => {
  test('http posts one JSON body per record, in order; an answer outside 2xx loses that record only', async () => {
    const server = await startScriptedServer()
    onTestFinished(() => server.close())
    server.script(json({}), json({}, 500), json({}, 201))
    const stream = openStream(`${server.origin}/records`, { headers: { 'X-Key': 'k' } })
    await expect(stream.push([{ n: 1 }, { n: 2 }, { n: 3 }])).rejects.toMatchObject({ lost: 1 })
    expect(server.calls.map(({ method, path, body }) => [method, path, JSON.parse(body)])).toEqual([
      ['POST', '/records', { n: 1 }],
      ['POST', '/records', { n: 2 }],
      ['POST', '/records', { n: 3 }],
    ])
    expect(server.calls[0]?.headers).toMatchObject({ 'content-type': 'application/json', 'x-key': 'k' })
  })

  test('a dead http target loses records and nothing else', async () => {
    const failures: number[] = []
    const target = openStream('http://127.0.0.1:1/', { timeout_ms: 2000 })
    const { recorder, succeed } = makeRecorder({ target, onFailure: (count) => failures.push(count) })
    succeed(1)
    await recorder.flush()
    expect(failures).toEqual([1])
  })

  test('file appends a line of JSON per record, from several models, and goes on after a restart', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'perdure-tracking-'))
    onTestFinished(() => rm(folder, { recursive: true, force: true }))
    const path = join(folder, 'deep', 'records.jsonl')
    const url = pathToFileURL(path).href
    const first = openStream(url)
    await Promise.all(Array.from({ length: 20 }, (_, n) => first.push([{ n }, { n, again: true }])))
    await first.close?.()
    const second = openStream(url)
    await second.push([{ n: 'last' }])
    await second.close?.()
    const lines = (await readFile(path, 'utf8'))
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(lines).toEqual([
      ...Array.from({ length: 20 }, (_, n) => [{ n }, { n, again: true }]).flat(),
      { n: 'last' },
    ])
  })

  const broker = process.env.PERDURE_TEST_KAFKA
  const needsBroker = broker ? '' : ' [needs a Kafka broker: PERDURE_TEST_KAFKA=host:port is not set]'
  test.skipIf(!broker)(`kafka gets one message per record${needsBroker}`, async () => {
    const topic = `perdure-${crypto.randomUUID()}`
    const stream = openStream(`kafka://${broker}/${topic}`, { producer: { autocreateTopics: true } })
    onTestFinished(async () => {
      await stream.close?.()
    })
    await stream.push([{ n: 1 }, { n: 2 }])
    const { Consumer, stringDeserializers } = await import('@platformatic/kafka')
    const consumer = new Consumer({
      groupId: topic,
      clientId: 'perdure-test',
      bootstrapBrokers: [broker ?? ''],
      deserializers: stringDeserializers,
    })
    onTestFinished(() => consumer.close(true))
    const messages = await consumer.consume({ topics: [topic], mode: 'earliest' })
    const seen: unknown[] = []
    for await (const message of messages) {
      seen.push(JSON.parse(message.value ?? ''))
      if (seen.length === 2) break
    }
    expect(seen).toEqual([{ n: 1 }, { n: 2 }])
  })

  test('a dead kafka broker loses records and nothing else', async () => {
    const failures: number[] = []
    const target = openStream('kafka://127.0.0.1:1/topic', { producer: { retries: 0 } })
    const { recorder, succeed } = makeRecorder({ target, onFailure: (count) => failures.push(count) })
    succeed(1)
    await recorder.flush(30_000)
    expect(failures).toEqual([1])
    await target.close?.()
  })

  test('an object with push is taken as it is', () => {
    const target = { push: () => {} }
    expect(openStream(target)).toBe(target)
  })

  test.each(['v3io://c/p', 'ftp://x', '', 'nowhere', 'kafka://', 'kafka://broker:9092', 'http://'])(
    'an unknown stream is refused at start: %s',
    (path) => {
      expect(() => openStream(path)).toThrow(`unsupported stream path ${path}`)
    },
  )

  test('the error stream carries one record per failed request', () => {
    const dummy = new DummyStream()
    const errors = new ErrorStream(dummy, { functionUri: 'default/tests', host: 'here' })
    errors.push({ id: 'evt-1', body: { inputs: [5] } }, 'ValueError: simulated error..')
    expect(dummy.eventList).toEqual([
      {
        function_uri: 'default/tests',
        worker: 0,
        host: 'here',
        source: '_handler',
        event: { id: 'evt-1', body: { inputs: [5] } },
        message: 'ValueError: simulated error..',
        args: {},
      },
    ])
  })
})

describe('the plan', () => {
  const functionUri = 'default/tests'

  test('tracking is on with a function URI and a stream from log_stream or monitoringStream', () => {
    expect(planTracking({ functionUri, parameters: { log_stream: 'dummy://' } })).toMatchObject({
      streamPath: 'dummy://',
      sample: 1,
      batch: 1,
    })
    expect(planTracking({ functionUri, trackModels: true, monitoringStream: 'dummy://m' })?.streamPath).toBe(
      'dummy://m',
    )
    expect(planTracking({ functionUri, monitoringStream: 'dummy://' })).toBeUndefined()
    expect(planTracking({ functionUri, trackModels: true })).toBeUndefined()
    expect(planTracking({ parameters: { log_stream: 'dummy://' } })).toBeUndefined()
  })

  test('{project} in log_stream is the project of the function URI', () => {
    const plan = planTracking({ functionUri, parameters: { log_stream: 'dummy://{project}/x' } })
    expect(plan?.streamPath).toBe('dummy://default/x')
  })

  test.each([0, -1, 1.5, '2', Number.NaN])('a sample or batch of %s is refused at start', (count) => {
    expect(() => planTracking({ functionUri, parameters: { log_stream_sample: count } })).toThrow(
      'log_stream_sample must be',
    )
    expect(() => planTracking({ functionUri, parameters: { log_stream_batch: count } })).toThrow(
      'log_stream_batch must be',
    )
  })
})

describe('model endpoints', () => {
  test.each([
    ['default/func', 'm1:latest', 'ea98a32a6936589ce10a25ff43be0295d5c0fa0d'],
    ['proj/my-fn:v1', 'm3:v2', '0cfbb86953b5f62dffbd3b6e7fd93f988e675af1'],
    ['proj/my-fn@abc123', 'm3:v2', '5cd361e459580af23f93b0b1d63a613080a95355'],
  ])('the uid of %s and %s is %s', (functionUri, model, uid) => {
    expect(endpointUid(functionUri, model)).toBe(uid)
  })

  test('a function URI is taken apart as the specification says', () => {
    expect(parseFunctionUri('p/f@h:t')).toEqual({ project: 'p', function: 'f', hash: 'h', tag: 't' })
    expect(parseFunctionUri('p/f:t@x:y')).toEqual({ project: 'p', function: 'f', tag: 't@x:y' })
    for (const uri of ['func', '/f', 'P/f', '-p/f', 'p-/f', 'p/', `${'p'.repeat(64)}/f`]) {
      expect(() => parseFunctionUri(uri)).toThrow(`bad function uri ${uri}`)
    }
  })

  const endpoint = {
    functionUri: 'proj/my-fn:v1',
    name: 'm3',
    version: 'v2',
    modelClass: 'MyModel',
    modelPath: '/models/m3',
    streamPath: 'dummy://',
    trackModels: true,
  }

  test('an absent record is created whole, a present one patched where it differs', async () => {
    const store = new MemoryEndpointStore()
    const calls: string[] = []
    for (const method of ['create', 'patch'] as const) {
      const original = store[method].bind(store) as (...args: unknown[]) => Promise<void>
      Object.defineProperty(store, method, {
        value: (...args: unknown[]) => {
          calls.push(method)
          return original(...args)
        },
      })
    }
    const uid = await registerEndpoint(store, endpoint)
    expect(uid).toBe('0cfbb86953b5f62dffbd3b6e7fd93f988e675af1')
    expect(await store.get('proj', uid!)).toEqual({
      kind: 'model-endpoint',
      metadata: { project: 'proj', uid: uid ?? '', labels: {} },
      spec: {
        function_uri: 'proj/my-fn:v1',
        model: 'm3:v2',
        model_class: 'MyModel',
        model_uri: '/models/m3',
        stream_path: 'dummy://',
        active: true,
        monitoring_mode: 'enabled',
        feature_names: [],
        label_names: [],
        algorithm: '',
        monitor_configuration: {},
      },
      status: {
        endpoint_type: 1,
        children: [],
        children_uids: [],
        first_request: '',
        last_request: '',
        error_count: 0,
        drift_status: '',
        metrics: { generic: { latency_avg_1h: 0, predictions_per_second: 0 } },
      },
    } satisfies EndpointRecord)
    await registerEndpoint(store, endpoint)
    expect(calls).toEqual(['create'])
    await registerEndpoint(store, {
      ...endpoint,
      modelPath: '/models/new',
      trackModels: false,
      modelClass: 'Other',
    })
    expect(calls).toEqual(['create', 'patch'])
    expect((await store.get('proj', uid!))?.spec).toMatchObject({
      model_uri: '/models/new',
      monitoring_mode: 'disabled',
      model_class: 'MyModel',
    })
  })

  test('a store that fails, or a function URI that cannot be parsed, is reported and nothing more', async () => {
    const errors: unknown[] = []
    const store = new MemoryEndpointStore()
    store.get = () => Promise.reject(new Error('store down'))
    await registerEndpoint(store, endpoint, (error) => errors.push(error))
    expect(
      await registerEndpoint(store, { ...endpoint, functionUri: 'nope' }, (error) => errors.push(error)),
    ).toBeUndefined()
    expect(errors.map(String)).toEqual(['Error: store down', 'ValueError: bad function uri nope'])
  })
})
