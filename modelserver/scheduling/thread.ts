/** One life of a model's worker thread, from start to end. Restarting is decided elsewhere. */

import { MessageChannel, Worker } from 'node:worker_threads'
import type { ServerContext } from '../context.ts'
import { RuntimeError, TimeLimitError } from '../errors.ts'
import type { EventFields } from '../event.ts'
import {
  type Answer,
  type FromThread,
  packError,
  type Question,
  type ThreadData,
  type ThreadedState,
  type ToThread,
  unpackError,
  type WireValue,
} from './thread-wire.ts'

/** One call of a hook, as it is sent and, if the thread ends before it has begun, sent again. */
export interface HookCall {
  readonly method: string
  readonly args: unknown[]
  /** The request's context without its signal, handed over as the hook's last argument. */
  readonly info?: object
  readonly event?: EventFields
  readonly signal?: AbortSignal
}

export interface ThreadOptions {
  readonly label: string
  readonly data: Pick<ThreadData, 'module' | 'exportName' | 'options'>
  readonly context: ServerContext | undefined
  /** V8 heap of the thread; one that needs more ends, and only it. */
  readonly maxOldGenerationMb?: number
  /** What the model has set with `setMetric`, after each answer. */
  readonly onMetrics: (metrics: Record<string, unknown>) => void
  /** The thread is gone: why, and the calls it had not begun. */
  readonly onEnd: (error: Error, unbegun: readonly PendingCall[]) => void
}

export interface PendingCall {
  readonly call: HookCall
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
}

/** A thread that does not answer for so long after a request went over its time limit hangs. */
const stuckAfterMs = 250

const hostFile = import.meta.url.endsWith('.ts') ? './thread-host.ts' : './thread-host.js'

export class ModelThread {
  /** Rejects when the class cannot be imported, constructed or loaded. */
  readonly loaded: Promise<ThreadedState>
  readonly #options: ThreadOptions
  readonly #worker: Worker
  readonly #begun = new BigInt64Array(new SharedArrayBuffer(8))
  readonly #pending = new Map<number, PendingCall & { stopListening: () => void }>()
  #lastId = 0
  #probe: NodeJS.Timeout | undefined
  #endedBy: Error | undefined

  constructor(options: ThreadOptions) {
    this.#options = options
    const { port1: answers, port2: questions } = new MessageChannel()
    const answered = new SharedArrayBuffer(4)
    const { workerId = 0, verbose = false, server = '', project = '' } = options.context ?? {}
    const workerData: ThreadData = {
      ...options.data,
      server: { workerId, verbose, server, project },
      begun: this.#begun.buffer as SharedArrayBuffer,
      answered,
      questions,
    }
    this.#worker = new Worker(new URL(hostFile, import.meta.url), {
      name: `model ${options.label}`,
      workerData,
      transferList: [questions],
      ...(options.maxOldGenerationMb
        ? { resourceLimits: { maxOldGenerationSizeMb: options.maxOldGenerationMb } }
        : {}),
    })
    answers.on('message', (question: Question) => {
      answers.postMessage(this.#answer(question))
      Atomics.store(new Int32Array(answered), 0, 1)
      Atomics.notify(new Int32Array(answered), 0)
    })
    answers.unref()
    this.loaded = this.#follow()
  }

  call(call: HookCall): Promise<unknown> {
    return new Promise((resolve, reject) => this.send({ call, resolve, reject }))
  }

  send(pending: PendingCall): void {
    const { method, args, info, event, signal } = pending.call
    if (signal?.aborted) {
      pending.reject(signal.reason)
      return
    }
    const message = {
      kind: 'call' as const,
      method,
      args,
      ...(info ? { info } : {}),
      ...(event ? { event } : {}),
    }
    this.#post(message, pending)
  }

  /** Ends the thread; calls under way are rejected. */
  async end(error: Error = this.#gone('it was stopped')): Promise<void> {
    this.#endedBy ??= error
    await this.#worker.terminate()
  }

  #follow(): Promise<ThreadedState> {
    const { promise, resolve, reject } = Promise.withResolvers<ThreadedState>()
    this.#worker.on('message', (message: FromThread) => {
      if (message.kind === 'loaded') {
        // Calls under way keep the process alive, an idle model does not.
        if (this.#pending.size === 0) this.#worker.unref()
        resolve(message.state)
      } else if (message.kind === 'load-failed') reject(unpackError(message.error))
      else this.#receive(message)
    })
    this.#worker.on('error', (cause) => {
      this.#endedBy ??= this.#gone(cause instanceof Error ? cause.message : String(cause), { cause })
    })
    this.#worker.on('exit', (code) => {
      const error = this.#endedBy ?? this.#gone(`exit code ${code}`)
      this.#endedBy = error
      clearTimeout(this.#probe)
      reject(error)
      const unbegun: PendingCall[] = []
      for (const [id, pending] of this.#pending) {
        pending.stopListening()
        if (id > this.#begunId() && pending.call.method !== '') unbegun.push(pending)
        else pending.reject(error)
      }
      this.#pending.clear()
      this.#options.onEnd(error, unbegun)
    })
    return promise
  }

  #receive(message: Exclude<FromThread, { kind: 'loaded' | 'load-failed' }>): void {
    const { context, onMetrics } = this.#options
    if (message.kind === 'pong') {
      clearTimeout(this.#probe)
      this.#probe = undefined
    } else if (message.kind === 'log') context?.logger[message.level](message.fields, message.message)
    else if (message.kind === 'push-error') context?.pushError(message.event, message.message)
    else {
      const pending = this.#pending.get(message.id)
      this.#forget(message.id)
      pending?.stopListening()
      if (message.metrics) onMetrics(message.metrics)
      if (message.kind === 'error') pending?.reject(unpackError(message.error))
      else pending?.resolve(this.#unpackValue(message.id, message.value, pending.call.signal))
    }
  }

  #post(message: DistributiveOmit<ToThread & { id: number }, 'id'>, pending: PendingCall): void {
    if (this.#endedBy) {
      pending.reject(this.#endedBy)
      return
    }
    const id = ++this.#lastId
    const { signal } = pending.call
    const onAbort = () => this.#abort(id, signal?.reason)
    signal?.addEventListener('abort', onAbort, { once: true })
    const stopListening = () => signal?.removeEventListener('abort', onAbort)
    if (this.#pending.size === 0) this.#worker.ref()
    this.#pending.set(id, { ...pending, stopListening })
    try {
      this.#worker.postMessage({ ...message, id })
    } catch (error) {
      this.#forget(id)
      stopListening()
      pending.reject(error)
    }
  }

  #forget(id: number): void {
    this.#pending.delete(id)
    if (this.#pending.size === 0) this.#worker.unref()
  }

  #abort(id: number, reason: unknown): void {
    this.#worker.postMessage({ kind: 'abort', id, error: packError(reason) } satisfies ToThread)
    if (reason instanceof TimeLimitError) this.#endIfStuck(id)
  }

  /** A call over its time that has not begun only stands behind others: it is judged once it has. */
  #endIfStuck(id: number): void {
    if (this.#probe || !this.#pending.has(id)) return
    if (id > this.#begunId()) {
      setTimeout(() => this.#endIfStuck(id), stuckAfterMs).unref()
      return
    }
    this.#worker.postMessage({ kind: 'ping' } satisfies ToThread)
    this.#probe = setTimeout(() => {
      void this.end(this.#gone('it did not come back from a request that was over its time limit'))
    }, stuckAfterMs)
  }

  #unpackValue(id: number, wire: WireValue, signal: AbortSignal | undefined): unknown {
    if (wire.form === 'value') return wire.value
    if (wire.form === 'stream') return this.#values(id, signal)
    const { status, headers, body = null } = wire
    return new Response(body, { status, headers })
  }

  async *#values(stream: number, signal: AbortSignal | undefined): AsyncGenerator<unknown> {
    const onAbort = () => this.#abort(stream, signal?.reason)
    signal?.addEventListener('abort', onAbort, { once: true })
    let done = false
    try {
      for (;;) {
        const step = await this.#step('next', stream)
        done = step.done
        if (done) return
        yield step.value
      }
    } finally {
      signal?.removeEventListener('abort', onAbort)
      if (!done) await this.#step('return', stream).catch(() => {})
    }
  }

  async #step(kind: 'next' | 'return', stream: number): Promise<{ done: boolean; value?: unknown }> {
    // An empty method marks what must not be sent again to another thread.
    const step = new Promise((resolve, reject) =>
      this.#post({ kind, stream }, { call: { method: '', args: [] }, resolve, reject }),
    )
    return (await step) as { done: boolean; value?: unknown }
  }

  #answer({ method, key }: Question): Answer {
    const { context } = this.#options
    const missing = Symbol('missing')
    const value = method === 'getParam' ? context?.getParam(key, missing) : context?.getSecret(key)
    const found = context !== undefined && value !== missing
    return { found, value: found ? value : undefined }
  }

  #begunId(): number {
    return Number(Atomics.load(this.#begun, 0))
  }

  #gone(why: string, options?: ErrorOptions): RuntimeError {
    return new RuntimeError(`the thread of model ${this.#options.label} has ended: ${why}`, options)
  }
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never
