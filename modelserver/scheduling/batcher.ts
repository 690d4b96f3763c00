/** Gathers concurrent requests of one model into batches (specification 7.1). Rows are its adapter's business. */

import type { BatchAdapter } from './adapters.ts'
import { type BatchingOptions, type Call, checkBatching } from './limits.ts'
import type { ModelQueue } from './queue.ts'

/** One request that waits for its batch. */
interface Waiting<C extends Call> {
  readonly request: unknown
  readonly call: C
  readonly rows: number
  readonly sinceMs: number
  readonly resolve: (result: unknown) => void
  readonly reject: (error: unknown) => void
  stopWatching: () => void
}

/** Requests that may share a batch, oldest first. */
interface Group<C extends Call> {
  readonly waiting: Array<Waiting<C>>
  rows: number
  timer: NodeJS.Timeout | undefined
}

/** After so long without a batch the model counts as idle. */
const idleAfterMs = 1000

export class Batcher<C extends Call = Call> {
  readonly #queue: ModelQueue
  readonly #adapter: BatchAdapter
  readonly #predict: (request: unknown, calls: C[], signal: AbortSignal) => unknown
  readonly #onBatch: (rows: number) => void
  readonly #options: Required<BatchingOptions>
  readonly #groups = new Map<string, Group<C>>()
  /** Slots of `maxConcurrent` that run a batch or stand in the queue's line for one. */
  #slotsTaken = 0
  /** Moving average of how full recent batches were, 0 to 1; a batch of one request counts as empty. */
  #fullness = 0
  #lastBatchMs = 0

  /**
   * `predict(request, calls, signal)` is called once per batch: `calls` are those of its requests, in order;
   * `signal` aborts when all of them have aborted or the batch is over the queue's `timeoutMs`.
   */
  constructor(
    queue: ModelQueue,
    options: BatchingOptions,
    adapter: BatchAdapter,
    predict: (request: unknown, calls: C[], signal: AbortSignal) => unknown,
    onBatch: (rows: number) => void = () => {},
  ) {
    checkBatching(options)
    this.#queue = queue
    this.#options = { maxDelayMs: 0, maxConcurrent: 1, adaptive: false, ...options }
    this.#adapter = adapter
    this.#predict = predict
    this.#onBatch = onBatch
    // Who waits for a batch was let in: a drain sends it off at once instead of turning it away.
    queue.whenClosed(() => this.#dispatch())
  }

  /**
   * This request's own part of what `predict` returned for its batch. Rejects as `ModelQueue.run` does, with the
   * error of `predict`, or with `RuntimeError` when the result does not have one output per row.
   */
  run(request: unknown, call: C): unknown {
    const key = this.#adapter.key(request)
    if (key === undefined) return this.#queue.run(call, () => this.#predict(request, [call], call.signal))
    return new Promise((resolve, reject) => {
      call.signal.throwIfAborted()
      this.#queue.startWaiting()
      const rows = this.#adapter.rows(request)
      const waiting: Waiting<C> = {
        request,
        call,
        rows,
        sinceMs: performance.now(),
        resolve,
        reject,
        stopWatching: () => {},
      }
      waiting.stopWatching = this.#queue.watchWaiting(call, 'batch', (error) =>
        this.#giveUp(key, waiting, error),
      )
      const group = this.#groups.get(key) ?? { waiting: [], rows: 0, timer: undefined }
      this.#groups.set(key, group)
      group.waiting.push(waiting)
      group.rows += rows
      this.#dispatch()
    })
  }

  /** Takes slots for the groups that are ripe, and sets the timers of the others. */
  #dispatch(): void {
    let ripe = 0
    for (const group of this.#groups.values()) {
      if (this.#isRipe(group)) ripe += Math.max(1, Math.floor(group.rows / this.#options.maxSize))
      else this.#wakeWhenDue(group)
    }
    while (ripe-- > 0 && this.#slotsTaken < this.#options.maxConcurrent) {
      this.#slotsTaken++
      // In the line of the queue there is a place for a batch; which requests go is decided when its turn comes.
      this.#queue.takeSlot(() => this.#start())
    }
  }

  #isRipe(group: Group<C>): boolean {
    const [oldest] = group.waiting
    if (oldest === undefined) return false
    if (group.rows >= this.#options.maxSize || this.#queue.closed) return true
    return performance.now() - oldest.sinceMs >= this.#delayMs()
  }

  #delayMs(): number {
    const { adaptive, maxDelayMs } = this.#options
    if (!adaptive) return maxDelayMs
    if (performance.now() - this.#lastBatchMs > idleAfterMs + maxDelayMs) this.#fullness = 0
    return maxDelayMs * Math.min(this.#fullness, 1)
  }

  #wakeWhenDue(group: Group<C>): void {
    const [oldest] = group.waiting
    if (group.timer !== undefined || oldest === undefined) return
    const waitMs = oldest.sinceMs + this.#delayMs() - performance.now()
    group.timer = setTimeout(
      () => {
        group.timer = undefined
        this.#dispatch()
      },
      Math.max(0, Math.ceil(waitMs)),
    )
  }

  /** Runs the batch whose first request is oldest among the ripe groups. */
  #start(): void {
    let found: [string, Group<C>] | undefined
    for (const entry of this.#groups) {
      if (!this.#isRipe(entry[1])) continue
      if (!found || sinceMs(entry[1]) < sinceMs(found[1])) found = entry
    }
    if (!found) {
      this.#free()
      return
    }
    const batch = this.#takeBatch(...found)
    // Not in this turn: what `predict` does synchronously must not run inside the request that filled the batch.
    queueMicrotask(() => void this.#runBatch(batch).finally(() => this.#free()))
  }

  #free(): void {
    this.#slotsTaken--
    this.#queue.freeSlot()
    this.#dispatch()
  }

  #takeBatch(key: string, group: Group<C>): Array<Waiting<C>> {
    let rows = 0
    let count = 0
    for (const next of group.waiting) {
      if (count > 0 && rows + next.rows > this.#options.maxSize) break
      rows += next.rows
      count++
    }
    const batch = group.waiting.splice(0, count)
    group.rows -= rows
    for (const waiting of batch) this.#stopWaiting(waiting)
    const share = batch.length > 1 ? rows / this.#options.maxSize : 0
    this.#fullness = this.#fullness * 0.7 + share * 0.3
    this.#lastBatchMs = performance.now()
    this.#settleGroup(key, group)
    return batch
  }

  async #runBatch(batch: Array<Waiting<C>>): Promise<void> {
    const counts = batch.map(({ rows }) => rows)
    const startedMs = performance.now()
    const end = new AbortController()
    const stopFollowing = abortWithAll(batch, end)
    let timer: NodeJS.Timeout | undefined
    try {
      this.#onBatch(counts.reduce((sum, rows) => sum + rows, 0))
      const requests = batch.map(({ request }) => request)
      const joined = requests.length === 1 ? requests[0] : this.#adapter.join(requests)
      const calls = batch.map(({ call }) => call)
      const work = Promise.resolve(this.#predict(joined, calls, end.signal))
      const { timeoutMs } = this.#queue
      const late = new Promise<never>((_, reject) => {
        if (timeoutMs === undefined) return
        timer = setTimeout(() => {
          reject(this.#expire(batch, end))
          this.#queue.watchOverdue(work)
        }, timeoutMs)
      })
      const pieces = this.#adapter.split(await Promise.race([work, late]), counts)
      for (const [index, { resolve }] of batch.entries()) resolve(pieces[index])
    } catch (error) {
      for (const { reject } of batch) reject(error)
    } finally {
      clearTimeout(timer)
      stopFollowing()
      this.#queue.ran(startedMs, batch.length)
    }
  }

  /** The batch is over its time: all its requests abort. Each of them counts as rejected. */
  #expire(batch: Array<Waiting<C>>, end: AbortController): Error {
    const [error] = batch.map(() => this.#queue.timeout())
    end.abort(error)
    for (const { call } of batch) call.abort(error)
    return error ?? new Error('an empty batch ran')
  }

  #giveUp(key: string, waiting: Waiting<C>, error: unknown): void {
    const group = this.#groups.get(key)
    const index = group?.waiting.indexOf(waiting) ?? -1
    if (!group || index < 0) return
    group.waiting.splice(index, 1)
    group.rows -= waiting.rows
    this.#stopWaiting(waiting)
    this.#settleGroup(key, group)
    waiting.reject(error)
  }

  #stopWaiting(waiting: Waiting<C>): void {
    this.#queue.stopWaiting()
    waiting.stopWatching()
  }

  /** The group's oldest request has changed: its timer is set anew, or the empty group forgotten. */
  #settleGroup(key: string, group: Group<C>): void {
    clearTimeout(group.timer)
    group.timer = undefined
    if (group.waiting.length === 0) this.#groups.delete(key)
    else if (!this.#isRipe(group)) this.#wakeWhenDue(group)
  }
}

function sinceMs<C extends Call>(group: Group<C>): number {
  return group.waiting[0]?.sinceMs ?? Number.POSITIVE_INFINITY
}

/** Aborts `end` once every request of the batch has aborted. */
function abortWithAll<C extends Call>(batch: Array<Waiting<C>>, end: AbortController): () => void {
  let left = batch.length
  const onAbort = () => {
    if (--left === 0) end.abort(batch[0]?.call.signal.reason)
  }
  for (const { call } of batch) {
    if (call.signal.aborted) onAbort()
    else call.signal.addEventListener('abort', onAbort, { once: true })
  }
  return () => {
    for (const { call } of batch) call.signal.removeEventListener('abort', onAbort)
  }
}
