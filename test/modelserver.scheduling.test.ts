/** Queues, batches and metrics of the model server, each by itself: specification 7.1, 7.2 and 7.6. */

import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { TimeLimitError } from '../modelserver/errors.ts'
import {
  Batcher,
  type BatchingOptions,
  checkLimits,
  listBatches,
  ModelQueue,
  type QueueLimits,
  ServerMetrics,
  tensorBatches,
} from '../modelserver/scheduling/index.ts'
import type { InferRequest } from '../modelserver/tensors/index.ts'

const soon = { timeout: 30_000, interval: 20 }

class TestCall {
  readonly #controller = new AbortController()
  get signal(): AbortSignal {
    return this.#controller.signal
  }
  abort(reason: unknown): void {
    this.#controller.abort(reason)
  }
}

/** A queue that knows what it refused, and requests that end when told. */
function makeQueue(limits: QueueLimits) {
  const refused: string[] = []
  const queue = new ModelQueue('m1', limits, (reason) => refused.push(reason))
  const started: number[] = []
  const ends: Array<() => void> = []
  const request = (index: number, call = new TestCall()) => {
    queue.enter()
    const work = () =>
      new Promise<number>((resolve) => {
        started.push(index)
        ends[index] = () => resolve(index)
      })
    return Promise.resolve(queue.run(call, work)).finally(() => queue.leave())
  }
  return { queue, refused, started, ends, request }
}

/** The next turn of the event loop: everything that was only waiting for promises has happened. */
const turn = () => new Promise((resolve) => setImmediate(resolve))

describe('the queue', () => {
  test('requests over maxConcurrency run in the order they came', async () => {
    const { queue, started, ends, request } = makeQueue({ maxConcurrency: 2 })
    const answers = [0, 1, 2, 3].map((index) => request(index))
    await turn()
    expect({ started: [...started], depth: queue.depth, inFlight: queue.inFlight }).toEqual({
      started: [0, 1],
      depth: 2,
      inFlight: 2,
    })
    ends[1]?.()
    await turn()
    expect(started).toEqual([0, 1, 2])
    ends[0]?.()
    await turn()
    expect(started).toEqual([0, 1, 2, 3])
    ends[2]?.()
    ends[3]?.()
    expect(await Promise.all(answers)).toEqual([0, 1, 2, 3])
    expect({ depth: queue.depth, inFlight: queue.inFlight }).toEqual({ depth: 0, inFlight: 0 })
  })

  test('a full queue answers 429 with its size and a Retry-After in whole seconds', async () => {
    const { refused, ends, request } = makeQueue({ maxConcurrency: 1, maxQueueSize: 2 })
    const answers = [0, 1, 2].map((index) => request(index))
    await expect(request(3)).rejects.toMatchObject({
      name: 'OverloadedError',
      message: 'model m1 queue is full (max 2)',
      status: 429,
      retryAfterS: 1,
    })
    expect(refused).toEqual(['queue_full'])
    for (const index of [0, 1, 2]) {
      await vi.waitFor(() => expect(ends[index]).toBeDefined(), soon)
      ends[index]?.()
    }
    await Promise.all(answers)
  })

  test('Retry-After grows with the queue and the mean run time, up to a minute', async () => {
    const queue = new ModelQueue('m1', { maxConcurrency: 1 })
    queue.ran(performance.now() - 2000, 1)
    expect(queue.retryAfterS()).toBe(3)
    for (let waiting = 0; waiting < 4; waiting++) queue.startWaiting()
    expect(queue.retryAfterS()).toBe(11)
    for (let waiting = 4; waiting < 90; waiting++) queue.startWaiting()
    expect(queue.retryAfterS()).toBe(60)
  })

  test('a request that waited longer than queueTimeoutMs gets 503 and its place is free again', async () => {
    const { queue, refused, ends, request } = makeQueue({ maxConcurrency: 1, queueTimeoutMs: 20 })
    const first = request(0)
    await expect(request(1)).rejects.toMatchObject({ status: 503, retryAfterS: 1 })
    expect({ refused, depth: queue.depth }).toEqual({ refused: ['queue_timeout'], depth: 0 })
    ends[0]?.()
    expect(await first).toBe(0)
  })

  test('an aborted request leaves the queue and never runs', async () => {
    const { queue, started, ends, request } = makeQueue({ maxConcurrency: 1 })
    const call = new TestCall()
    const first = request(0)
    const second = request(1, call)
    const third = request(2)
    call.abort(new Error('the caller went away'))
    await expect(second).rejects.toThrow('the caller went away')
    expect(queue.depth).toBe(1)
    ends[0]?.()
    await first
    await vi.waitFor(() => expect(started).toEqual([0, 2]), soon)
    ends[2]?.()
    await third
  })

  test('predict over timeoutMs is a 504, aborts the signal and frees the slot', async () => {
    const { refused, ends, started, request } = makeQueue({ maxConcurrency: 1, timeoutMs: 30 })
    const call = new TestCall()
    const hung = request(0, call)
    const next = request(1)
    await expect(hung).rejects.toMatchObject({ status: 504, message: 'model m1 took longer than 30 ms' })
    expect(call.signal.reason).toBeInstanceOf(TimeLimitError)
    await vi.waitFor(() => expect(started).toEqual([0, 1]), soon)
    ends[1]?.()
    expect(await next).toBe(1)
    expect(refused).toEqual(['timeout'])
  })

  test('a draining queue refuses new and waiting requests with 503, lets running ones end, and then is idle', async () => {
    const { queue, refused, ends, request } = makeQueue({ maxConcurrency: 1 })
    const running = request(0)
    const waiting = request(1)
    await turn()
    queue.close('draining')
    const idle = queue.idle()
    await expect(waiting).rejects.toMatchObject({ status: 503, message: 'model m1 is draining' })
    expect(() => queue.enter()).toThrow('model m1 is draining')
    expect(refused).toEqual(['draining', 'draining'])
    ends[0]?.()
    expect(await running).toBe(0)
    await idle
    queue.open()
    queue.enter()
    queue.leave()
  })

  test('a stream keeps its slot until it is closed, once', async () => {
    const { queue, started, ends, request } = makeQueue({ maxConcurrency: 1 })
    const slot = await queue.acquire(new TestCall())
    const waiting = request(0)
    await turn()
    expect(started).toEqual([])
    slot.free()
    slot.free()
    await vi.waitFor(() => expect(started).toEqual([0]), soon)
    const second = request(1)
    await turn()
    expect(started).toEqual([0])
    ends[0]?.()
    await vi.waitFor(() => expect(started).toEqual([0, 1]), soon)
    ends[1]?.()
    await Promise.all([waiting, second])
  })

  test('without limits nothing is queued and the signal is never made', async () => {
    const queue = new ModelQueue('m1')
    const call = {
      get signal(): AbortSignal {
        throw new Error('looked at')
      },
      abort: () => {},
    }
    expect(queue.run(call, () => 7)).toBe(7)
  })

  test.each([
    { maxConcurrency: 0 },
    { maxQueueSize: -1 },
    { timeoutMs: 1.5 },
    { queueTimeoutMs: Number.NaN },
  ])('limits out of range are refused: %o', (limits) => {
    expect(() => checkLimits(limits)).toThrow(/must be an integer of at least/)
  })

  test('under any mix of arrivals, aborts and ends no more than maxConcurrency run and every request is settled once', async () => {
    const steps = fc.array(fc.oneof(fc.constant('arrive'), fc.constant('end'), fc.constant('abort')), {
      maxLength: 60,
    })
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 0, max: 5 }),
        steps,
        async (slots, size, todo) => {
          const { queue, started, ends, request } = makeQueue({ maxConcurrency: slots, maxQueueSize: size })
          const calls: TestCall[] = []
          const settled: number[] = []
          const done = new Set<number>()
          let running = 0
          const answers: Array<Promise<void>> = []
          for (const step of todo) {
            if (step === 'arrive') {
              const index = calls.push(new TestCall()) - 1
              const settle = () => void settled.push(index)
              answers.push(request(index, calls[index]).then(settle, settle))
            } else if (step === 'end') {
              const index = started.find((candidate) => !done.has(candidate))
              if (index !== undefined) {
                done.add(index)
                ends[index]?.()
              }
            } else calls.at(-1)?.abort(new Error('gone'))
            await turn()
            running = started.filter((index) => !done.has(index)).length
            expect(running).toBeLessThanOrEqual(slots)
            expect(queue.depth).toBeLessThanOrEqual(size)
          }
          for (;;) {
            const left = started.filter((index) => !done.has(index))
            if (left.length === 0) break
            for (const index of left) {
              done.add(index)
              ends[index]?.()
            }
            await turn()
          }
          await Promise.all(answers)
          expect(settled.toSorted((a, b) => a - b)).toEqual(calls.map((_, index) => index))
          expect([...started]).toEqual(started.toSorted((a, b) => a - b))
          expect({ depth: queue.depth, inFlight: queue.inFlight }).toEqual({ depth: 0, inFlight: 0 })
        },
      ),
      { numRuns: 40 },
    )
  })
})

/** A batcher over lists whose predict answers each input with `f(input)` when released. */
function makeBatcher(options: BatchingOptions, limits: QueueLimits = {}, held = false) {
  const queue = new ModelQueue('m1', limits)
  const batches: unknown[][] = []
  const rows: number[] = []
  const release: Array<() => void> = []
  const batcher = new Batcher<TestCall>(
    queue,
    options,
    listBatches,
    async (request) => {
      const { inputs } = request as { inputs: unknown[] }
      batches.push(inputs)
      if (held) await new Promise<void>((resolve) => release.push(resolve))
      return inputs.map((input) => `out ${String(input)}`)
    },
    (count) => rows.push(count),
  )
  const ask = (inputs: unknown[], more: object = {}, call = new TestCall()) =>
    Promise.resolve(batcher.run({ inputs, ...more }, call))
  return { queue, batcher, batches, rows, release, ask }
}

describe('the batcher', () => {
  test('requests that arrive together become one predict, and each caller gets its own rows', async () => {
    const { batches, rows, ask } = makeBatcher({ maxSize: 4, maxDelayMs: 10_000 })
    const answers = await Promise.all([ask([1]), ask([2, 3]), ask([4])])
    expect({ answers, batches, rows }).toEqual({
      answers: [['out 1'], ['out 2', 'out 3'], ['out 4']],
      batches: [[1, 2, 3, 4]],
      rows: [4],
    })
  })

  test('a batch that is not full leaves when its oldest request has waited maxDelayMs', async () => {
    const { batches, ask } = makeBatcher({ maxSize: 8, maxDelayMs: 20 })
    expect(await Promise.all([ask([1]), ask([2])])).toEqual([['out 1'], ['out 2']])
    expect(batches).toEqual([[1, 2]])
  })

  test('only requests that are equal but for id and rows are joined', async () => {
    const { batches, ask } = makeBatcher({ maxSize: 8, maxDelayMs: 10 })
    await Promise.all([
      ask([1], { id: 'a', mode: { x: 1, y: 2 } }),
      ask([2], { id: 'b', mode: { y: 2, x: 1 } }),
      ask([3], { mode: { x: 1, y: 3 } }),
    ])
    expect(batches).toEqual([[1, 2], [3]])
  })

  test('a request larger than maxSize runs alone', async () => {
    const { batches, ask } = makeBatcher({ maxSize: 2, maxDelayMs: 10 })
    await Promise.all([ask([1]), ask([2, 3, 4]), ask([5])])
    expect(batches).toEqual([[1], [2, 3, 4], [5]])
  })

  test('while every slot is busy a batch keeps filling', async () => {
    const { queue, batches, release, ask } = makeBatcher({ maxSize: 3, maxDelayMs: 0 }, {}, true)
    const answers = [ask([1])]
    await vi.waitFor(() => expect(batches).toEqual([[1]]), soon)
    answers.push(ask([2]), ask([3]), ask([4]), ask([5]))
    await turn()
    expect({ batches: batches.length, depth: queue.depth }).toEqual({ batches: 1, depth: 4 })
    release[0]?.()
    await vi.waitFor(() => expect(batches).toEqual([[1], [2, 3, 4]]), soon)
    release[1]?.()
    await vi.waitFor(() => expect(batches).toEqual([[1], [2, 3, 4], [5]]), soon)
    release[2]?.()
    expect(await Promise.all(answers)).toHaveLength(5)
  })

  test('those that wait for a batch count as queued', async () => {
    const { ask, release, batches } = makeBatcher({ maxSize: 8, maxDelayMs: 0 }, { maxQueueSize: 2 }, true)
    const first = ask([1])
    await vi.waitFor(() => expect(batches).toHaveLength(1), soon)
    const others = [ask([2]), ask([3])]
    await expect(ask([4])).rejects.toMatchObject({ status: 429, message: 'model m1 queue is full (max 2)' })
    release[0]?.()
    await vi.waitFor(() => expect(batches).toHaveLength(2), soon)
    release[1]?.()
    await Promise.all([first, ...others])
  })

  test('batches share maxConcurrency with requests that are not batched', async () => {
    const { queue, batches, ask } = makeBatcher(
      { maxSize: 2, maxDelayMs: 0, maxConcurrent: 4 },
      { maxConcurrency: 1 },
    )
    const slot = await queue.acquire(new TestCall())
    const answers = [ask([1]), ask([2]), ask([3])]
    await turn()
    expect(batches).toEqual([])
    slot.free()
    await Promise.all(answers)
    expect(batches).toEqual([[1, 2], [3]])
  })

  test('an aborted request leaves its batch before predict sees it', async () => {
    const { batches, ask } = makeBatcher({ maxSize: 8, maxDelayMs: 30 })
    const call = new TestCall()
    const others = [ask([1]), ask([3])]
    const gone = ask([2], {}, call)
    call.abort(new Error('the caller went away'))
    await expect(gone).rejects.toThrow('the caller went away')
    expect(await Promise.all(others)).toEqual([['out 1'], ['out 3']])
    expect(batches).toEqual([[1, 3]])
  })

  test('a drain sends waiting requests off at once', async () => {
    const { queue, ask } = makeBatcher({ maxSize: 8, maxDelayMs: 60_000 })
    const answer = ask([1])
    queue.close('draining')
    expect(await answer).toEqual(['out 1'])
  })

  test('an exception, and a result of the wrong length, goes to every caller', async () => {
    const queue = new ModelQueue('m1')
    let result: unknown = [1]
    const batcher = new Batcher<TestCall>(queue, { maxSize: 2, maxDelayMs: 10_000 }, listBatches, () => {
      if (result instanceof Error) throw result
      return result
    })
    const both = () =>
      Promise.allSettled([1, 2].map(async (input) => batcher.run({ inputs: [input] }, new TestCall())))
    const reasons = async () =>
      (await both()).map((outcome) => outcome.status === 'rejected' && String(outcome.reason))
    expect(await reasons()).toEqual(Array(2).fill('RuntimeError: batch of 2 items got 1 outputs'))
    result = { a: [1, 2], b: [1, 2, 3] }
    expect(await reasons()).toEqual(Array(2).fill('RuntimeError: batch of 2 items got 3 outputs'))
    result = new Error('boom')
    expect(await reasons()).toEqual(Array(2).fill('Error: boom'))
    result = { a: [1, 2], b: new Float32Array([3, 4]) }
    expect(await both()).toEqual([
      { status: 'fulfilled', value: { a: [1], b: new Float32Array([3]) } },
      { status: 'fulfilled', value: { a: [2], b: new Float32Array([4]) } },
    ])
  })

  test('predict over timeoutMs is a 504 for the whole batch', async () => {
    const { ask } = makeBatcher({ maxSize: 2, maxDelayMs: 0 }, { timeoutMs: 20 }, true)
    const calls = [new TestCall(), new TestCall()]
    const outcomes = await Promise.allSettled(calls.map((call, index) => ask([index], {}, call)))
    for (const outcome of outcomes)
      expect(outcome).toMatchObject({ status: 'rejected', reason: { status: 504 } })
    expect(calls.map((call) => call.signal.aborted)).toEqual([true, true])
  })

  test('an adaptive batcher does not wait while idle, and waits when batches fill up', async () => {
    const { batches, ask } = makeBatcher({ maxSize: 4, maxDelayMs: 60_000, adaptive: true })
    await ask([1])
    expect(batches).toEqual([[1]])
    // Full batches: eight at a time, until the moving average makes a lone request wait for company.
    for (let round = 0; round < 10; round++)
      await Promise.all([ask([1]), ask([2]), ask([3]), ask([4])].slice(0, 4))
    batches.length = 0
    const pair = [ask(['a']), ask(['b']), ask(['c']), ask(['d'])]
    await Promise.all(pair)
    expect(batches).toEqual([['a', 'b', 'c', 'd']])
  })

  test('whatever arrives, every request is answered once with its own rows, in order, and no batch is over maxSize unless single', async () => {
    const arrivals = fc.array(
      fc.record({
        rows: fc.integer({ min: 0, max: 6 }),
        mode: fc.constantFrom('x', 'y'),
        pause: fc.boolean(),
        abort: fc.boolean(),
      }),
      { minLength: 1, maxLength: 30 },
    )
    const options = fc.record({
      maxSize: fc.integer({ min: 2, max: 5 }),
      maxDelayMs: fc.constantFrom(0, 1, 3),
      maxConcurrent: fc.integer({ min: 1, max: 3 }),
      adaptive: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(options, arrivals, async (batching, todo) => {
        const batches: Array<{ inputs: string[]; requests: number; mode: string }> = []
        const batcher = new Batcher<TestCall>(
          new ModelQueue('m1'),
          batching,
          listBatches,
          async (request, calls) => {
            const { inputs, mode } = request as { inputs: string[]; mode: string }
            batches.push({ inputs, requests: calls.length, mode })
            await turn()
            return inputs.map((input) => `${input}!`)
          },
        )
        const expected: unknown[] = []
        const answers: Array<Promise<unknown>> = []
        for (const [index, { rows, mode, pause, abort }] of todo.entries()) {
          const inputs = Array.from({ length: rows }, (_, row) => `${index}.${row}`)
          const call = new TestCall()
          const answer = Promise.resolve(batcher.run({ inputs, mode, id: index }, call))
          answers.push(answer.catch(() => 'aborted'))
          expected.push(inputs.map((input) => `${input}!`))
          if (pause) await turn()
          if (abort) call.abort(new Error('gone'))
        }
        for (const [index, answer] of (await Promise.all(answers)).entries()) {
          if (!(answer === 'aborted' && todo[index]?.abort)) expect(answer).toEqual(expected[index])
        }
        for (const mode of ['x', 'y']) {
          const seen = batches.filter((batch) => batch.mode === mode).flatMap(({ inputs }) => inputs)
          const order = seen.map((input) => Number(input.split('.')[0]))
          expect(order).toEqual(order.toSorted((a, b) => a - b))
          expect(new Set(seen).size).toBe(seen.length)
        }
        for (const { inputs, requests } of batches) {
          expect(inputs.length <= batching.maxSize || requests === 1).toBe(true)
        }
      }),
      { numRuns: 60 },
    )
  })
})

describe('tensor batches', () => {
  const tensor = (data: number[], columns = 2, datatype: 'FP32' | 'FP64' = 'FP32') => ({
    name: 'x',
    shape: [data.length / columns, columns],
    datatype,
    data: datatype === 'FP32' ? Float32Array.from(data) : Float64Array.from(data),
  })
  const request = (data: number[], more: Partial<InferRequest> = {}): InferRequest => ({
    inputs: [tensor(data)],
    ...more,
  })

  test('names, datatypes, trailing shapes, parameters and requested outputs must agree; id and rows need not', () => {
    const key = (value: InferRequest) => tensorBatches.key(value)
    expect(key(request([1, 2], { id: 'a' }))).toBe(key(request([1, 2, 3, 4], { id: 'b' })))
    expect(key({ inputs: [tensor([1, 2, 3], 3)] })).not.toBe(key(request([1, 2])))
    expect(key({ inputs: [tensor([1, 2], 2, 'FP64')] })).not.toBe(key(request([1, 2])))
    expect(key(request([1, 2], { parameters: { k: 1 } }))).not.toBe(key(request([1, 2])))
    expect(key(request([1, 2], { outputs: [{ name: 'y' }] }))).not.toBe(key(request([1, 2])))
    expect(
      key({ inputs: [{ name: 'x', shape: [], datatype: 'FP32', data: new Float32Array(1) }] }),
    ).toBeUndefined()
    expect(key({ inputs: [tensor([1, 2]), tensor([1, 2, 3, 4])] })).toBeUndefined()
  })

  test('rows are joined in order and outputs cut back along their first dimension', () => {
    const joined = tensorBatches.join([request([1, 2], { id: 'a' }), request([3, 4, 5, 6])]) as InferRequest
    expect(joined).toMatchObject({ id: 'a', inputs: [{ name: 'x', shape: [3, 2] }] })
    expect([...(joined.inputs[0]?.data ?? [])]).toEqual([1, 2, 3, 4, 5, 6])
    const output = { name: 'y', shape: [3], datatype: 'FP32', data: [10, 20, 30] }
    const pieces = tensorBatches.split([output], [1, 2]) as InferRequest[]
    const plain = (value: unknown) =>
      JSON.parse(
        JSON.stringify(value, (_key, inner) =>
          ArrayBuffer.isView(inner) ? Array.from(inner as Float32Array) : inner,
        ),
      )
    expect(plain(pieces)).toMatchObject([
      { outputs: [{ name: 'y', shape: [1], data: [10] }] },
      { outputs: [{ name: 'y', shape: [2], data: [20, 30] }] },
    ])
    expect(() => tensorBatches.split([output], [1, 1])).toThrow('batch of 2 items got 3 outputs')
  })
})

describe('metrics', () => {
  test('counts, times and gauges are written under their names and labels', async () => {
    const metrics = new ServerMetrics()
    const model = metrics.model('dbl', '', {
      ready: () => true,
      condition: () => ({ state: 'READY', reason: '' }),
      overdue: () => 0,
      inFlight: () => 2,
      queueDepth: () => 1,
      metrics: () => ({ last: 4.5, text: 'x', wrong: Number.NaN }),
    })
    for (let count = 0; count < 3; count++) {
      model.request('infer', 'oip', 200)
      model.predict(0.02)
    }
    model.rejected('queue_full')
    model.logPushFailures(2)
    model.batchRows(8)
    const text = await metrics.render()
    expect(metrics.contentType).toBe('text/plain; version=0.0.4; charset=utf-8')
    for (const line of [
      'model_requests_total{model="dbl",version="",op="infer",protocol="oip",status="200"} 3',
      'model_rejected_total{model="dbl",reason="queue_full"} 1',
      'model_log_push_failures_total{model="dbl"} 2',
      'request_predict_seconds_count{model_name="dbl"} 3',
      'request_predict_seconds_bucket{le="0.01",model_name="dbl"} 0',
      'request_predict_seconds_bucket{le="0.025",model_name="dbl"} 3',
      'model_batch_rows_sum{model_name="dbl"} 8',
      'model_ready{model="dbl",version=""} 1',
      'model_in_flight{model="dbl",version=""} 2',
      'model_queue_depth{model="dbl",version=""} 1',
      'model_metric{model="dbl",name="last"} 4.5',
    ]) {
      expect(text.split('\n')).toContain(line)
    }
    expect(text).not.toMatch(/name="(text|wrong)"/)
  })

  test('a reload keeps the counts and a removed model loses its gauges', async () => {
    const metrics = new ServerMetrics()
    const source = (ready: boolean) => ({
      ready: () => ready,
      condition: () => ({ state: ready ? 'READY' : 'UNAVAILABLE', reason: ready ? '' : 'no file' }),
      overdue: () => 0,
      inFlight: () => 0,
      queueDepth: () => 0,
      metrics: () => ({}),
    })
    const old = metrics.model('m', 'v1', source(true))
    old.request('infer', 'v2', 200)
    const reloaded = metrics.model('m', 'v1', source(false))
    reloaded.request('infer', 'v2', 200)
    old.remove()
    const text = await metrics.render()
    expect(text).toContain(
      'model_requests_total{model="m",version="v1",op="infer",protocol="v2",status="200"} 2',
    )
    expect(text).toContain('model_ready{model="m",version="v1"} 0')
    expect(text).toContain('model_state{model="m",version="v1",state="UNAVAILABLE",reason="no file"} 1')
    expect(text).not.toContain('state="READY"')
    reloaded.remove()
    expect(await metrics.render()).not.toContain('model_ready{')
  })

  test('two servers in one process count apart', async () => {
    const [one, other] = [new ServerMetrics(), new ServerMetrics()]
    one.request({ model: '', version: '', op: 'infer', protocol: 'v2', status: 404 })
    expect(await other.render()).not.toContain('status="404"')
  })
})
