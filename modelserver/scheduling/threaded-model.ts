/** A model whose hooks run in a worker thread of their own, seen from the server. Restarts a thread that ended. */

import { within } from '../abort.ts'
import type { RequestInfo } from '../context.ts'
import { ValueError } from '../errors.ts'
import type { ModelEvent } from '../event.ts'
import { type ModelClass, type ModelOptions, V2ModelServer } from '../model.ts'
import { type HookCall, ModelThread, type PendingCall } from './thread.ts'
import type { ThreadedState } from './thread-wire.ts'

export interface ThreadedModelOptions {
  /** URL or absolute path of the module that exports the model's class. */
  module: string | URL
  /** `default` for the default export. */
  exportName: string
  /** V8 heap of the thread in MiB; one that needs more ends, and only it. */
  maxOldGenerationMb?: number
}

const firstPauseMs = 500
const longestPauseMs = 30_000
/** Shorter than what the server grants the whole unload. */
const longestUnloadMs = 2000

/**
 * A class to serve in place of the user's own, which is imported, constructed and loaded inside a worker thread only.
 * Every hook it writes is called there, with plain copies of what it is given; `modelSpec`, `labels` and metrics are
 * copied back. A thread that ends fails the requests it had begun, keeps the others, and is started and loaded
 * again. One that hangs in a request over its `timeoutMs` is ended. A ready-made `model` object is refused.
 */
export function threadedModel(options: ThreadedModelOptions): ModelClass {
  const Class = class extends ThreadedModel {
    constructor(modelOptions: ModelOptions) {
      super(modelOptions, options)
    }
  }
  Object.defineProperty(Class, 'name', { value: options.exportName })
  return Class
}

class ThreadedModel extends V2ModelServer<object> {
  readonly #source: ThreadedModelOptions
  readonly #options: ModelOptions
  #thread: ModelThread | undefined
  /** The loaded thread, or the one that is loading. */
  #current: Promise<ModelThread> | undefined
  #pauseMs = firstPauseMs
  #retry: NodeJS.Timeout | undefined
  #over = false
  /** The last thread that loaded: only its end is a crash, that of another is a load that failed. */
  #loaded: ModelThread | undefined

  constructor(options: ModelOptions, source: ThreadedModelOptions) {
    super(options)
    if (this.ready) throw new ValueError('a ready-made model object cannot move into a thread: load it there')
    this.#options = options
    this.#source = source
  }

  override async load(): Promise<void> {
    this.#over = false
    await this.#start()
  }

  override async unload(): Promise<void> {
    this.#over = true
    clearTimeout(this.#retry)
    const thread = this.#thread
    await thread?.end()
  }

  #start(): Promise<ModelThread> {
    const { label, data } = this.#describe()
    const { maxOldGenerationMb } = this.#source
    const thread = new ModelThread({
      label,
      data,
      context: this.context,
      ...(maxOldGenerationMb === undefined ? {} : { maxOldGenerationMb }),
      onMetrics: (metrics) => {
        this.metrics = metrics
      },
      onEnd: (error, unbegun) => this.#ended(thread, error, unbegun),
    })
    this.#thread = thread
    this.#current = thread.loaded.then(
      (state) => {
        this.#loaded = thread
        this.#adopt(state)
        return thread
      },
      async (error: unknown) => {
        await thread.end()
        throw error
      },
    )
    // Whoever calls a hook sees the rejection; with no caller it must not end the process.
    this.#current.catch(() => {})
    return this.#current
  }

  #describe() {
    const { name, modelPath, protocol, inputPath, resultPath, params } = this.#options
    const given = { modelPath, protocol, inputPath, resultPath, params }
    const options = {
      name,
      ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
    }
    const module = String(this.#source.module)
    const url = module.startsWith('file:') ? module : new URL(module, 'file:///').href
    return { label: name, data: { module: url, exportName: this.#source.exportName, options } }
  }

  /** The thread is gone, by whatever cause. */
  #ended(thread: ModelThread, error: Error, unbegun: readonly PendingCall[]): void {
    if (this.#over || thread !== this.#loaded) {
      for (const { reject } of unbegun) reject(error)
      return
    }
    this.ready = false
    this.error = error.message
    this.context?.logger.error(
      { model: this.#options.name, error: error.message },
      'the thread of a model has ended',
    )
    this.#restart(unbegun)
  }

  #restart(unbegun: readonly PendingCall[]): void {
    this.#start().then(
      (thread) => {
        this.ready = true
        this.error = ''
        this.#pauseMs = firstPauseMs
        for (const pending of unbegun) thread.send(pending)
      },
      (error: unknown) => {
        for (const { reject } of unbegun) reject(error)
        if (this.#over) return
        this.error = error instanceof Error ? error.message : String(error)
        this.#retry = setTimeout(() => this.#restart([]), this.#pauseMs).unref()
        this.#pauseMs = Math.min(this.#pauseMs * 2, longestPauseMs)
      },
    )
  }

  #adopt(state: ThreadedState): void {
    this.modelSpec = state.modelSpec
    this.labels = state.labels
    this.metrics = state.metrics
    this.modelPath = state.modelPath
    Object.assign(this.params, state.params)
    Object.defineProperty(this.constructor, 'name', { value: state.className })
    for (const hook of state.hooks) {
      const forward = this.#forward(hook)
      if (forward) Object.defineProperty(this, hook, { value: forward, configurable: true })
    }
  }

  /** What stands in for a hook of the user's class; undefined for methods the server never calls. */
  #forward(hook: string): ((...args: never[]) => unknown) | undefined {
    switch (hook) {
      case 'predict':
      case 'explain':
      case 'postprocess':
        return (value: unknown, ctx: RequestInfo) => this.#call(hook, [value], ctx)
      case 'preprocess':
      case 'validate':
        return (request: unknown, op: string, ctx: RequestInfo) => this.#call(hook, [request, op], ctx)
      case 'loggedResults':
        return (...args: unknown[]) => this.#call(hook, args)
      case 'warmup':
        return () => this.#call(hook, [])
      case 'unload':
        // Whatever the hook does, the thread ends.
        return () =>
          within(this.#call('unload', []), longestUnloadMs).finally(() =>
            ThreadedModel.prototype.unload.call(this),
          )
      case 'generate':
        return (request: unknown, ctx: RequestInfo) => this.#generate(request, ctx)
      default:
        return hook.startsWith('op_') ? (event: ModelEvent) => this.#callOperation(hook, event) : undefined
    }
  }

  async *#generate(request: unknown, ctx: RequestInfo): AsyncGenerator<unknown> {
    yield* (await this.#call('generate', [request], ctx)) as AsyncIterable<unknown>
  }

  #call(method: string, args: unknown[], ctx?: RequestInfo): Promise<unknown> {
    if (!ctx) return this.#send({ method, args })
    const { id, op, path, method: verb, headers, trigger, trace, protocol, start, signal } = ctx
    const info = { id, op, path, method: verb, headers, trigger, trace, protocol, start }
    return this.#send({ method, args, info, signal })
  }

  #callOperation(method: string, event: ModelEvent): Promise<unknown> {
    return this.#send({ method, args: [], event: event.fields(), signal: event.signal })
  }

  async #send(call: HookCall): Promise<unknown> {
    const thread = await (this.#current ?? this.#start())
    return thread.call(call)
  }
}
