/** Batching, queues, warm-up and threads through the whole model server: conformance cases 64 to 66 of the specification. */

import { describe, expect, onTestFinished, test, vi } from 'vitest'
import {
  createModelServer,
  type ModelRequest,
  type ModelSettings,
  type RequestInfo,
  type ServerOptions,
  V2ModelServer,
  ValueError,
} from '../modelserver/index.ts'

const soon = { timeout: 30_000, interval: 20 }

/** The Lists fixture of the specification, section 8; keeps the inputs of each predict. */
class Lists extends V2ModelServer {
  readonly seen: unknown[][] = []
  override load(): void {}
  override predict({ inputs = [] }: ModelRequest): unknown {
    this.seen.push(inputs)
    const multiplier = this.getParam<number>('multiplier', 1)
    return inputs.map((input) => Number(input) * multiplier)
  }
}

async function start(settings: ModelSettings, options: ServerOptions = {}) {
  const server = createModelServer(options)
  server.addModel('m1', settings)
  onTestFinished(() => server.stop())
  await server.start()
  const infer = (body: unknown, eventId = 'evt-1', op = 'infer') =>
    server.test(`/v2/models/m1/${op}`, { body, eventId, silent: true })
  return { server, infer, metrics: async () => (await server.test('/metrics')).text.split('\n') }
}

describe('batching', () => {
  test('case 64: eight requests at once are one predict, and each gets its own output and id', async () => {
    const seen: unknown[][] = []
    class Watched extends Lists {
      override readonly seen = seen
    }
    const { infer, metrics } = await start({
      class: Watched,
      params: { multiplier: 10 },
      batching: { maxSize: 8, maxDelayMs: 200 },
    })
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, index) => infer({ inputs: [index] }, `evt-${index}`)),
    )
    expect(answers.map(({ body }) => body)).toEqual(
      Array.from({ length: 8 }, (_, index) => ({
        id: `evt-${index}`,
        model_name: 'm1',
        outputs: [index * 10],
      })),
    )
    expect(seen).toEqual([[0, 1, 2, 3, 4, 5, 6, 7]])
    expect(await metrics()).toContain('model_batch_rows_sum{model_name="m1"} 8')
  })

  test('V1 requests are joined by their instances, which predict sees as inputs and instances', async () => {
    const seen: unknown[] = []
    class Watched extends Lists {
      override predict(request: ModelRequest): unknown {
        const { inputs, instances } = request
        seen.push({ inputs, instances })
        return super.predict(request)
      }
    }
    const { server } = await start({ class: Watched, batching: { maxSize: 3, maxDelayMs: 10_000 } })
    const predict = (instances: unknown[]) =>
      server.test('/v1/models/m1:predict', { body: { instances }, silent: true })
    const answers = await Promise.all([predict([1]), predict([2, 3])])
    expect(answers.map(({ body }) => body)).toEqual([{ predictions: [1] }, { predictions: [2, 3] }])
    expect(seen).toEqual([{ inputs: [1, 2, 3], instances: [1, 2, 3] }])
  })

  test('case 64: one request alone is answered after maxDelayMs, not later', async () => {
    const { infer } = await start({ class: Lists, batching: { maxSize: 8, maxDelayMs: 200 } })
    await infer({ inputs: [1] })
    const fromMs = performance.now()
    const answer = await infer({ inputs: [5] })
    const tookMs = performance.now() - fromMs
    expect(answer.body).toEqual({ id: 'evt-1', model_name: 'm1', outputs: [5] })
    expect(tookMs).toBeGreaterThanOrEqual(195)
    // The bound is 200 ms + predict; the rest is what a busy machine may take.
    expect(tookMs).toBeLessThan(2000)
  })

  test('tensors of protocol oip are joined along their first dimension', async () => {
    class Dbl extends Lists {
      override predict(request: object): unknown {
        const { inputs: [tensor] = [] } = request as {
          inputs: Array<{ shape: number[]; data: Float32Array }>
        }
        const rows = tensor?.shape[0] ?? 0
        this.seen.push([rows])
        const sum = (row: number) => 2 * ((tensor?.data[2 * row] ?? 0) + (tensor?.data[2 * row + 1] ?? 0))
        return [
          {
            name: 'output0',
            shape: [rows],
            datatype: 'FP32',
            data: Array.from({ length: rows }, (_, row) => sum(row)),
          },
        ]
      }
    }
    const { infer } = await start({ class: Dbl, protocol: 'oip', batching: { maxSize: 3, maxDelayMs: 5000 } })
    const tensor = (data: number[]) => ({
      inputs: [{ name: 'input0', shape: [data.length / 2, 2], datatype: 'FP32', data }],
    })
    const answers = await Promise.all([infer(tensor([1, 2, 3, 4]), 'a'), infer(tensor([5, 6]), 'b')])
    expect(answers.map(({ body }) => body)).toMatchObject([
      { id: 'a', outputs: [{ name: 'output0', shape: [2], datatype: 'FP32', data: [6, 14] }] },
      { id: 'b', outputs: [{ name: 'output0', shape: [1], datatype: 'FP32', data: [22] }] },
    ])
  })

  test('a batch with too few outputs fails every caller, each with its own record', async () => {
    class Short extends Lists {
      override predict(): unknown {
        return [1]
      }
    }
    const records: unknown[] = []
    const { infer } = await start(
      { class: Short, batching: { maxSize: 2, maxDelayMs: 5000 } },
      {
        functionUri: 'default/tests',
        trackModels: true,
        monitoringStream: { push: (pushed) => void records.push(...pushed) },
      },
    )
    const answers = await Promise.all([infer({ inputs: [1] }, 'a'), infer({ inputs: [2] }, 'b')])
    for (const answer of answers) {
      expect([answer.status, answer.text]).toEqual([400, 'RuntimeError: batch of 2 items got 1 outputs'])
    }
    expect(records).toMatchObject([
      { request: { inputs: [1], id: 'a' } },
      { request: { inputs: [2], id: 'b' } },
    ])
  })
})

/** predict waits until the test lets it go. */
function makeBlocked() {
  const release: Array<() => void> = []
  class Blocked extends Lists {
    override async predict(request: ModelRequest): Promise<unknown> {
      await new Promise<void>((resolve) => release.push(resolve))
      return super.predict(request)
    }
  }
  return { Blocked, release }
}

describe('limits', () => {
  test('case 65: with one slot and two places the fourth request gets 429, the others 200', async () => {
    const { Blocked, release } = makeBlocked()
    const { infer, server, metrics } = await start({ class: Blocked, maxConcurrency: 1, maxQueueSize: 2 })
    const answers = [1, 2, 3].map((input) => infer({ inputs: [input] }))
    await vi.waitFor(async () =>
      expect(await metrics()).toContain('model_queue_depth{model="m1",version=""} 2'),
    )
    const fourth = await infer({ inputs: [4] })
    expect([fourth.status, fourth.text]).toEqual([429, 'OverloadedError: model m1 queue is full (max 2)'])
    expect(fourth.headers.get('retry-after')).toMatch(/^[1-9]\d*$/)
    expect(Number(fourth.headers.get('retry-after'))).toBeLessThanOrEqual(60)
    // Metadata, ready and metrics never queue.
    expect((await server.test('/v2/models/m1/ready')).status).toBe(200)
    expect((await server.test('/v2/models/m1')).status).toBe(200)
    for (const index of [0, 1, 2]) {
      await vi.waitFor(() => expect(release[index]).toBeDefined(), soon)
      release[index]?.()
    }
    const outcomes = await Promise.all(answers)
    expect(outcomes.map(({ status, body }) => [status, body])).toEqual(
      [1, 2, 3].map((input) => [200, { id: 'evt-1', model_name: 'm1', outputs: [input] }]),
    )
    expect(await metrics()).toContain('model_rejected_total{model="m1",reason="queue_full"} 1')
  })

  test('oip and V1 say the same without the class', async () => {
    const { Blocked, release } = makeBlocked()
    const { infer, server } = await start({
      class: Blocked,
      protocol: 'v1',
      maxConcurrency: 1,
      maxQueueSize: 0,
    })
    const first = infer({ inputs: [1] })
    await vi.waitFor(() => expect(release).toHaveLength(1), soon)
    const refused = await server.test('/v1/models/m1:predict', { body: { instances: [1] }, silent: true })
    expect([refused.status, refused.body]).toEqual([429, { error: 'model m1 queue is full (max 0)' }])
    release[0]?.()
    await first
  })

  test('predict over timeoutMs is a 504 and aborts ctx.signal', async () => {
    const reasons: unknown[] = []
    class Patient extends V2ModelServer {
      override load(): void {}
      override predict(_request: ModelRequest, { signal }: RequestInfo): unknown {
        return new Promise(() => signal.addEventListener('abort', () => reasons.push(signal.reason.status)))
      }
    }
    const { infer } = await start({ class: Patient, timeoutMs: 30 })
    const answer = await infer({ inputs: [1] })
    expect([answer.status, answer.text]).toEqual([504, 'TimeoutError: model m1 took longer than 30 ms'])
    expect(reasons).toEqual([504])
  })

  test('a stop lets running requests end and refuses those that wait with 503', async () => {
    const { Blocked, release } = makeBlocked()
    const { infer, server, metrics } = await start({ class: Blocked, maxConcurrency: 1 })
    const running = infer({ inputs: [1] })
    const waiting = infer({ inputs: [2] })
    await vi.waitFor(async () =>
      expect(await metrics()).toContain('model_queue_depth{model="m1",version=""} 1'),
    )
    const stopped = server.stop()
    expect((await waiting).status).toBe(503)
    const late = await infer({ inputs: [3] })
    expect([late.status, late.headers.get('retry-after')]).toEqual([503, '1'])
    release[0]?.()
    expect((await running).status).toBe(200)
    await stopped
  })
})

describe('warm-up', () => {
  test('case 66: the model is not ready before its warm-up ends, which is neither recorded nor counted', async () => {
    const records: unknown[] = []
    class Slow extends Lists {
      override async predict(request: ModelRequest): Promise<unknown> {
        await new Promise((resolve) => setTimeout(resolve, 300))
        return super.predict(request)
      }
    }
    const { server, metrics } = await start(
      { class: Slow, warmup: [{ inputs: [1] }] },
      {
        loadMode: 'async',
        functionUri: 'default/tests',
        trackModels: true,
        monitoringStream: { push: (pushed) => void records.push(...pushed) },
      },
    )
    const ready = () => server.test('/v2/models/m1/ready', { silent: true })
    expect((await ready()).status).toBe(408)
    await vi.waitFor(async () => expect((await ready()).status).toBe(200), 10_000)
    expect(records).toEqual([])
    expect(
      (await metrics()).filter((line) =>
        /^(model_requests_total|request_predict_seconds_count).*infer/.test(line),
      ),
    ).toEqual([])
    expect(await metrics()).not.toContain('request_predict_seconds_count{model_name="m1"} 1')
  })

  test('case 66: a warm-up that throws is a load failure', async () => {
    class Cold extends Lists {
      override predict(): unknown {
        throw new ValueError('too cold')
      }
    }
    await expect(start({ class: Cold, warmup: [{ inputs: [1] }] })).rejects.toMatchObject({
      name: 'RuntimeError',
      message: 'failed to load model m1',
      cause: { message: 'too cold' },
    })
    const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
    const { server, infer } = await start(
      { class: Cold, warmup: [{ inputs: [1] }] },
      { loadMode: 'async', logger },
    )
    await vi.waitFor(async () => {
      const answer = await server.test('/v2/models/m1/ready', { silent: true })
      expect([answer.status, answer.text]).toEqual([408, 'model not ready'])
    }, soon)
    const answer = await infer({ inputs: [1] })
    expect([answer.status, answer.text]).toEqual([400, 'RuntimeError: model m1 is not ready yet'])
  })
})

describe('isolation', () => {
  const module = new URL('./support/threaded-models.ts', import.meta.url)

  test('a model that computes in a thread does not keep the others waiting', async () => {
    const { server, infer } = await start({ isolate: 'thread', module, export: 'Moody' })
    let answered = false
    const slow = infer({ inputs: ['spin', 600] }).finally(() => {
      answered = true
    })
    expect((await server.test('/v2/models/m1/ready')).status).toBe(200)
    expect(answered).toBe(false)
    expect((await slow).body).toMatchObject({ outputs: 'spun' })
  })

  test('a model that hangs costs its own request a 504 and serves again', async () => {
    const { infer } = await start({
      isolate: 'thread',
      module,
      export: 'Moody',
      maxConcurrency: 1,
      timeoutMs: 500,
    })
    const hung = await infer({ inputs: ['hang'] })
    expect([hung.status, hung.text]).toEqual([504, 'TimeoutError: model m1 took longer than 500 ms'])
    await vi.waitFor(
      async () => expect((await infer({ inputs: [1] })).body).toMatchObject({ outputs: [1] }),
      20_000,
    )
  })

  test('a crash fails its request only, and the reason is gone once the thread is back', async () => {
    const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
    const { infer } = await start({ isolate: 'thread', module, export: 'Moody' }, { logger })
    const crashed = await infer({ inputs: ['crash'] })
    expect([crashed.status, crashed.text]).toEqual([
      400,
      'RuntimeError: the thread of model m1 has ended: exit code 3',
    ])
    await vi.waitFor(
      async () => expect((await infer({ inputs: [1] })).body).toMatchObject({ outputs: [1] }),
      20_000,
    )
  })

  test('while its thread is down the model shows state and reason, and no request reaches it', async () => {
    const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
    const loads = new SharedArrayBuffer(4)
    const { server, infer, metrics } = await start(
      { isolate: 'thread', module, export: 'LoadsOnce', params: { loads } },
      { logger },
    )
    const index = async () => (await server.test('/v2/repository/index', { method: 'POST', body: {} })).body
    await infer({ inputs: ['crash'] })
    const down = { state: 'UNAVAILABLE', reason: 'not the second time' }
    await vi.waitFor(async () => expect(await index()).toEqual([{ name: 'm1', ...down }]), {
      timeout: 20_000,
      interval: 5,
    })
    const [metadata, scraped, refused] = await Promise.all([
      server.test('/v2/models/m1'),
      metrics(),
      infer({ inputs: [1] }),
    ])
    expect(metadata.body).toMatchObject({ name: 'm1', ...down })
    expect(scraped).toContain('model_ready{model="m1",version=""} 0')
    expect(scraped).toContain(
      'model_state{model="m1",version="",state="UNAVAILABLE",reason="not the second time"} 1',
    )
    expect([refused.status, refused.text]).toEqual([400, 'RuntimeError: model m1 is not ready yet'])
    await vi.waitFor(
      async () => expect(await index()).toEqual([{ name: 'm1', state: 'READY', reason: '' }]),
      20_000,
    )
  })

  test('a model that hangs, and hangs again when it is to clean up, does not keep the server from stopping', async () => {
    const errors: unknown[] = []
    const logger = {
      debug: () => {},
      info: () => {},
      warn: () => {},
      error: (fields: object) => errors.push(fields),
    }
    const server = createModelServer({ logger })
    server.addModel('threaded', { isolate: 'thread', module, export: 'NeverEnds' })
    class Here extends Lists {
      override unload(): Promise<void> {
        return new Promise(() => {})
      }
    }
    server.addModel('here', { class: Here })
    await server.start()
    const hung = server.test('/v2/models/threaded/infer', { body: { inputs: [1] }, silent: true })
    await vi.waitFor(() => expect(server.routes.find('threaded')?.host?.queue.inFlight).toBe(1), 20_000)
    await server.stop({ gracePeriodMs: 50 })
    expect((await hung).text).toContain('the thread of model threaded has ended')
    expect(errors).toEqual([{ model: 'here', error: 'RuntimeError: unload took longer than 3000 ms' }])
  })
})
