/** One model's queue: how many requests run, wait and are turned away (specification 7.2). Knows nothing of batches. */

import { OverloadedError, TimeLimitError } from '../errors.ts'
import { type Call, checkLimits, type QueueLimits, type RejectReason } from './limits.ts'

const longestRetryAfterS = 60

/** A place among the requests that run. */
export interface Slot {
  /** The work, or a `TimeLimitError` (504) once the slot's time is up. */
  within<T>(work: T | Promise<T>): T | Promise<T>
  /** Call when the work, or the stream it gave, has ended; again does nothing. */
  free(): void
}

export class ModelQueue {
  readonly label: string
  readonly #limits: QueueLimits
  readonly #maxConcurrency: number
  readonly #maxQueueSize: number
  readonly #onReject: (reason: RejectReason) => void
  #closed: 'draining' | 'unloading' | undefined
  /** Requests between `enter` and `leave`. */
  #entered = 0
  #queued = 0
  #overdue = 0
  #slotsInUse = 0
  /** First in, first out: a Set keeps insertion order and forgets an aborted one at once. */
  readonly #turns = new Set<() => void>()
  /** Gives up each waiting request, when the queue closes. */
  readonly #waiting = new Set<(error: Error) => void>()
  readonly #closeListeners: Array<() => void> = []
  #idle: Array<() => void> = []
  /** Moving average of one request's share of run time. */
  #meanMs = 0

  /** `label` = the model as messages name it. `onReject` counts the requests that get 429, 503 or 504 here. */
  constructor(label: string, limits: QueueLimits = {}, onReject: (reason: RejectReason) => void = () => {}) {
    checkLimits(limits)
    this.label = label
    this.#limits = limits
    this.#maxConcurrency = limits.maxConcurrency ?? Number.POSITIVE_INFINITY
    this.#maxQueueSize = limits.maxQueueSize ?? 100
    this.#onReject = onReject
  }

  /** Entered requests that do not wait. */
  get inFlight(): number {
    return this.#entered - this.#queued
  }

  /** Requests that wait for a slot or for a batch. */
  get depth(): number {
    return this.#queued
  }

  /** Requests that got their 504 while the model still works on them: what a model that hangs shows. */
  get overdue(): number {
    return this.#overdue
  }

  get timeoutMs(): number | undefined {
    return this.#limits.timeoutMs
  }

  get closed(): boolean {
    return this.#closed !== undefined
  }

  /** First step of each infer, predict, explain or generate request. Throws `OverloadedError` (503) when closed. */
  enter(): void {
    if (this.#closed) throw this.#refuse(this.#closed)
    this.#entered++
  }

  /** Last step of each request that has entered, whatever became of it. */
  leave(): void {
    if (--this.#entered === 0) this.#wakeIdle()
  }

  /**
   * Runs predict or explain. Over the limits it waits its turn first: 429 when the queue is full, 503 when it waited
   * too long or the queue closes, 504 when `work` takes too long. An aborted request leaves the queue with its
   * signal's reason. Without limits this is a plain call.
   */
  run<T>(call: Call, work: () => T | Promise<T>): T | Promise<T> {
    if (this.#maxConcurrency === Number.POSITIVE_INFINITY && this.#limits.timeoutMs === undefined)
      return work()
    return this.#runLimited(call, work)
  }

  /** For streams: resolves to a slot when the work may start. Its time limit runs until it is freed. */
  async acquire(call: Call): Promise<Slot> {
    await this.#turn(call)
    const startedMs = performance.now()
    const { timeoutMs } = this.#limits
    const late = Promise.withResolvers<never>()
    late.promise.catch(() => {}) // between two pieces of work nobody listens
    const timer =
      timeoutMs === undefined
        ? undefined
        : setTimeout(() => {
            const error = this.timeout()
            late.reject(error)
            call.abort(error)
          }, timeoutMs)
    let open = true
    return {
      within: (work) => (timer === undefined ? work : this.#within(work, late.promise)),
      free: () => {
        if (!open) return
        open = false
        clearTimeout(timer)
        this.ran(startedMs, 1)
        this.freeSlot()
      },
    }
  }

  /** Counts work that goes on after its time limit. */
  watchOverdue(work: Promise<unknown>): void {
    this.#overdue++
    const ended = () => {
      this.#overdue--
    }
    work.then(ended, ended)
  }

  /** Refuses new requests and those that wait for a turn; what runs, and what waits for a batch, goes on. */
  close(reason: 'draining' | 'unloading'): void {
    this.#closed = reason
    for (const giveUp of [...this.#waiting]) giveUp(this.#refuse(reason))
    for (const listener of this.#closeListeners) listener()
  }

  whenClosed(listener: () => void): void {
    this.#closeListeners.push(listener)
  }

  open(): void {
    this.#closed = undefined
  }

  /** Resolves when every entered request has left. */
  idle(): Promise<void> {
    return this.#entered === 0 ? Promise.resolve() : new Promise((resolve) => this.#idle.push(resolve))
  }

  /** Whole seconds, 1 to 60: the time the requests that wait now will need. */
  retryAfterS(): number {
    const slots = Number.isFinite(this.#maxConcurrency) ? this.#maxConcurrency : 1
    const seconds = Math.ceil(((this.#queued + 1) * this.#meanMs) / slots / 1000)
    return Math.min(Math.max(seconds, 1), longestRetryAfterS)
  }

  /** Takes one place among those that wait, or throws `OverloadedError` 429. Pair with `stopWaiting`. */
  startWaiting(): void {
    if (this.#queued >= this.#maxQueueSize) throw this.#refuse('queue_full')
    this.#queued++
  }

  stopWaiting(): void {
    this.#queued--
  }

  /**
   * Starts the queue's clock for one that waits: `giveUp` is called when it aborts, has waited `queueTimeoutMs` or,
   * for `turn`, when the queue closes. Call what is returned when the waiting is over.
   */
  watchWaiting(call: Call, kind: 'turn' | 'batch', giveUp: (error: unknown) => void): () => void {
    const onAbort = () => giveUp(call.signal.reason)
    call.signal.addEventListener('abort', onAbort, { once: true })
    const { queueTimeoutMs } = this.#limits
    const timer =
      queueTimeoutMs === undefined
        ? undefined
        : setTimeout(() => giveUp(this.#refuse('queue_timeout')), queueTimeoutMs)
    if (kind === 'turn') this.#waiting.add(giveUp)
    return () => {
      call.signal.removeEventListener('abort', onAbort)
      clearTimeout(timer)
      this.#waiting.delete(giveUp)
    }
  }

  /** Calls `start` with a slot taken: at once if one is free, else in turn. Returns how to withdraw while it waits. */
  takeSlot(start: () => void): () => void {
    if (this.#slotsInUse < this.#maxConcurrency && this.#turns.size === 0) {
      this.#slotsInUse++
      start()
      return () => {}
    }
    // A function of its own, so that the same `start` may stand in the line twice.
    const turn = () => start()
    this.#turns.add(turn)
    return () => this.#turns.delete(turn)
  }

  freeSlot(): void {
    this.#slotsInUse--
    while (this.#slotsInUse < this.#maxConcurrency) {
      const [next] = this.#turns
      if (next === undefined) return
      this.#turns.delete(next)
      this.#slotsInUse++
      next()
    }
  }

  /** Notes how long `requests` took together, for `Retry-After`. */
  ran(startedMs: number, requests: number): void {
    const ms = (performance.now() - startedMs) / requests
    this.#meanMs = this.#meanMs === 0 ? ms : this.#meanMs * 0.8 + ms * 0.2
  }

  /** The 504 of a request that ran too long; counted. */
  timeout(): TimeLimitError {
    this.#onReject('timeout')
    return new TimeLimitError(504, `model ${this.label} took longer than ${this.#limits.timeoutMs} ms`)
  }

  async #runLimited<T>(call: Call, work: () => T | Promise<T>): Promise<T> {
    const slot = await this.acquire(call)
    try {
      return await slot.within(work())
    } finally {
      slot.free()
    }
  }

  async #within<T>(work: T | Promise<T>, late: Promise<never>): Promise<T> {
    try {
      return await Promise.race([work, late])
    } catch (error) {
      if (error instanceof TimeLimitError && work instanceof Promise) this.watchOverdue(work)
      throw error
    }
  }

  /** Resolves with a slot taken. */
  #turn(call: Call): Promise<void> | undefined {
    if (this.#slotsInUse < this.#maxConcurrency && this.#turns.size === 0) {
      this.#slotsInUse++
      return
    }
    return new Promise((resolve, reject) => {
      call.signal.throwIfAborted()
      this.startWaiting()
      const over = () => {
        this.stopWaiting()
        stopWatching()
      }
      const stopWatching = this.watchWaiting(call, 'turn', (error) => {
        withdraw()
        over()
        reject(error)
      })
      const withdraw = this.takeSlot(() => {
        over()
        resolve()
      })
    })
  }

  #refuse(reason: Exclude<RejectReason, 'timeout'>): OverloadedError {
    this.#onReject(reason)
    const why = {
      queue_full: `queue is full (max ${this.#maxQueueSize})`,
      queue_timeout: `was busy for ${this.#limits.queueTimeoutMs} ms`,
      draining: 'is draining',
      unloading: 'is unloading',
    }[reason]
    return new OverloadedError(`model ${this.label} ${why}`, {
      status: reason === 'queue_full' ? 429 : 503,
      retryAfterS: this.retryAfterS(),
    })
  }

  #wakeIdle(): void {
    const waiting = this.#idle
    this.#idle = []
    for (const wake of waiting) wake()
  }
}
