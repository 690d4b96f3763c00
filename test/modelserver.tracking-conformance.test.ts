/** Tracking through the whole model server: conformance cases 33 to 39 and 26 of the specification. */

import { hostname } from 'node:os'
import { describe, expect, onTestFinished, test } from 'vitest'
import {
  createModelServer,
  type ModelClass,
  type ModelRequest,
  type ServerOptions,
  V2ModelServer,
  ValueError,
} from '../modelserver/index.ts'
import { type EndpointStore, endpointUid, MemoryEndpointStore } from '../modelserver/tracking/index.ts'

/** The Metric fixture of the specification, section 8. */
class Metric extends V2ModelServer {
  override load(): void {
    this.labels = { team: 'x' }
  }
  override predict({ inputs = [] }: ModelRequest): unknown {
    const first = Number(inputs[0])
    if (first < 0) throw new ValueError('negative')
    this.setMetric('last', first)
    return [first * 2]
  }
  op_custom(): string {
    return 'custom'
  }
}

class LoggedMetric extends Metric {
  override loggedResults(): [unknown[], unknown[]] {
    return [[[1]], [2]]
  }
}

class SlowMetric extends Metric {
  override predict(request: ModelRequest): unknown {
    const result = super.predict(request)
    return new Promise((resolve) => setTimeout(() => resolve(result), 1200))
  }
}

const when = expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}\+00:00$/)
const base = {
  class: 'Metric',
  worker: 0,
  model: 'my',
  version: 'v3',
  host: hostname(),
  function_uri: 'default/tests',
  labels: { team: 'x' },
}

async function start(options: ServerOptions = {}, modelClass: ModelClass = Metric) {
  const records: unknown[] = []
  const stream = { push: (pushed: unknown[]) => void records.push(...pushed) }
  const server = createModelServer({
    functionUri: 'default/tests',
    trackModels: true,
    monitoringStream: stream,
    ...options,
  })
  server.addModel('my:v3', { class: modelClass, modelPath: '/models/my' })
  await server.start()
  onTestFinished(() => server.stop())
  const call = (op: string, body?: unknown) =>
    server.test(`/v2/models/my:v3/${op}`, {
      ...(body === undefined ? {} : { body }),
      eventId: 'evt-1',
      silent: true,
    })
  return { server, records, call }
}

describe('tracking', () => {
  test('case 33: a success is one record: the request as sent, the answer, when, microsec and metrics', async () => {
    const { records, call } = await start()
    const answer = await call('infer', { inputs: [1], id: 'r1', extra: 1 })
    expect(answer.status, answer.text).toBe(200)
    const resp = { id: 'r1', model_name: 'my', outputs: [2], model_version: 'v3' }
    expect(answer.body).toEqual(resp)
    expect(records).toEqual([
      {
        ...base,
        request: { inputs: [1], id: 'r1', extra: 1 },
        op: 'infer',
        resp,
        when,
        microsec: expect.toSatisfy(Number.isInteger),
        metrics: { last: 1 },
      },
    ])
  })

  test('case 34: an exception of predict is one record with the error', async () => {
    const { records, call } = await start()
    const answer = await call('infer', { inputs: [-1] })
    expect([answer.status, answer.text]).toEqual([400, 'ValueError: negative'])
    expect(records).toEqual([
      { ...base, request: { inputs: [-1], id: 'evt-1' }, op: 'infer', when, error: 'negative' },
    ])
  })

  test('case 35: a failed validation, ready and custom operations leave no record', async () => {
    const { records, call } = await start()
    expect((await call('infer', { x: [-1] })).status).toBe(400)
    expect((await call('ready')).text).toBe('Model my is ready (event_id = evt-1)')
    expect((await call('custom', {})).text).toBe('custom')
    expect(records).toEqual([])
  })

  test('case 36: loggedResults replace request and answer in the record only', async () => {
    const { records, call } = await start({}, LoggedMetric)
    expect((await call('infer', { inputs: [4] })).body).toMatchObject({ outputs: [8] })
    expect(records).toMatchObject([{ request: { id: 'evt-1', inputs: [[1]] }, resp: { outputs: [2] } }])
    expect(records[0]).toHaveProperty('resp', { outputs: [2] })
  })

  test('case 37: with a sample of 2 every second success is recorded', async () => {
    const { records, call } = await start({ parameters: { log_stream_sample: 2 } })
    for (const input of [1, 2, 3, 4, 5]) await call('infer', { inputs: [input] })
    expect(records).toMatchObject([
      { request: { inputs: [2] }, metrics: { last: 2 } },
      { request: { inputs: [4] }, metrics: { last: 4 } },
    ])
    expect(records).toHaveLength(2)
  })

  test('case 38: a predict of 1.2 s is recorded whole', async () => {
    const { records, call } = await start({}, SlowMetric)
    await call('infer', { inputs: [1] })
    expect(records[0]).toHaveProperty(
      'microsec',
      expect.toSatisfy((value: number) => value >= 1_200_000),
    )
  })

  test('case 38: a stream that throws leaves the answer alone and is counted', async () => {
    const push = () => {
      throw new Error('stream down')
    }
    const { server, call } = await start({ monitoringStream: { push } })
    const answer = await call('infer', { inputs: [1] })
    expect([answer.status, answer.body]).toEqual([
      200,
      { id: 'evt-1', model_name: 'my', outputs: [2], model_version: 'v3' },
    ])
    const metrics = await server.test('/metrics')
    expect(metrics.text.split('\n')).toContain('model_log_push_failures_total{model="my"} 1')
  })

  test('a stop sends a partly filled batch and closes the stream', async () => {
    const seen: unknown[] = []
    const monitoringStream = {
      push: (records: unknown[]) => void seen.push(...records),
      close: () => void seen.push('closed'),
    }
    const { server, call } = await start({ monitoringStream, parameters: { log_stream_batch: 3 } })
    for (const input of [1, 2, 3, 4]) await call('infer', { inputs: [input] })
    expect(seen).toHaveLength(1)
    await server.stop()
    expect(seen).toMatchObject([{ values: { length: 3 } }, { values: { length: 1 } }, 'closed'])
    expect(seen[1]).toHaveProperty('values.0.0', { inputs: [4] })
  })

  test('case 26: a failed request is one record of the error stream', async () => {
    const records: unknown[] = []
    const errorStream = { push: (pushed: unknown[]) => void records.push(...pushed) }
    const { call } = await start({ errorStream })
    await call('infer', { inputs: [-1] })
    expect(records).toEqual([
      {
        function_uri: 'default/tests',
        worker: 0,
        host: hostname(),
        source: '_handler',
        event: { id: 'evt-1', body: { inputs: [-1] } },
        message: 'ValueError: negative',
        args: {},
      },
    ])
  })

  test.each([{ log_stream_sample: 0 }, { log_stream_batch: 0 }, { log_stream: 'nowhere://x' }])(
    'a start with %o is refused',
    async (parameters) => {
      await expect(start({ parameters })).rejects.toMatchObject({ name: 'ValueError' })
    },
  )
})

/** A store that counts what is asked of it. */
class CountingStore extends MemoryEndpointStore {
  readonly calls: string[] = []
  override create(...args: Parameters<MemoryEndpointStore['create']>): Promise<void> {
    this.calls.push('create')
    return super.create(...args)
  }
  override patch(...args: Parameters<MemoryEndpointStore['patch']>): Promise<void> {
    this.calls.push('patch')
    return super.patch(...args)
  }
}

describe('model endpoints', () => {
  test('case 39: the first start creates the record, the second leaves it', async () => {
    const endpointStore = new CountingStore()
    await start({ endpointStore })
    const uid = endpointUid('default/tests', 'my:v3')
    expect(endpointStore.calls).toEqual(['create'])
    expect(endpointStore.records.get(`default/${uid}`)).toMatchObject({
      metadata: { project: 'default', uid, labels: { team: 'x' } },
      spec: { model: 'my:v3', model_class: 'Metric', model_uri: '/models/my', monitoring_mode: 'enabled' },
      status: { endpoint_type: 1 },
    })
    await start({ endpointStore })
    expect(endpointStore.calls).toEqual(['create'])
  })

  test('a store that fails does not keep the model from serving', async () => {
    const down = () => Promise.reject(new Error('store down'))
    const endpointStore: EndpointStore = { get: down, create: down, patch: down }
    const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
    const { call } = await start({ endpointStore, logger })
    expect((await call('infer', { inputs: [1] })).status).toBe(200)
  })
})
