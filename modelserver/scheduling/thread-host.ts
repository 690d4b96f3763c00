/** Runs inside a model's worker thread: imports the user's class, loads it and calls its hooks. Knows no HTTP. */

import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import type { Logger, ServerContext } from '../context.ts'
import { ModelEvent } from '../event.ts'
import type { ModelOptions } from '../model.ts'
import {
  type Answer,
  type FromThread,
  isAsyncIterable,
  type LogLevel,
  packError,
  packValue,
  type Question,
  type ThreadData,
  type ThreadedState,
  type ToThread,
  unpackError,
} from './thread-wire.ts'

const data = workerData as ThreadData
const begun = new BigInt64Array(data.begun)
const answered = new Int32Array(data.answered)
const running = new Map<number, AbortController>()
const streams = new Map<number, AsyncIterator<unknown>>()

function say(message: FromThread): void {
  parentPort?.postMessage(message)
}

// `getParam` is synchronous for its caller, so the thread stands still until the server has answered.
function ask(question: Question): Answer {
  data.questions.postMessage(question)
  Atomics.wait(answered, 0, 0)
  Atomics.store(answered, 0, 0)
  return receiveMessageOnPort(data.questions)?.message as Answer
}

function makeContext(): ServerContext {
  const log = (level: LogLevel) => (fields: object, message: string) =>
    say({ kind: 'log', level, fields, message })
  const logger: Logger = { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') }
  return {
    ...data.server,
    logger,
    stream: undefined,
    getParam(key, defaultValue) {
      const answer = ask({ method: 'getParam', key })
      return answer.found ? answer.value : defaultValue
    },
    getSecret(key) {
      const { value } = ask({ method: 'getSecret', key })
      return typeof value === 'string' ? value : undefined
    },
    pushError: (event, message) => say({ kind: 'push-error', event, message }),
  }
}

/** The user's model; looked into by name, for its class may come from another copy of this package. */
type Model = ThreadedState & { ready: boolean; load(): unknown }

async function loadModel(): Promise<Model> {
  const module: Record<string, unknown> = await import(data.module)
  const Class = module[data.exportName]
  if (typeof Class !== 'function') throw new Error(`${data.module} exports no class ${data.exportName}`)
  const options: ModelOptions = { ...data.options, context: makeContext() }
  const model = Reflect.construct(Class, [options]) as Model
  if (!model.ready) await model.load()
  model.ready = true
  return model
}

/** Functions of the model that its base class does not have or that replace the base class's. */
function ownHooks(model: object): string[] {
  const names = new Set<string>()
  for (let level: object = model; ; ) {
    const below: object | null = Object.getPrototypeOf(level)
    // The last level above Object.prototype is the base class itself.
    if (below === null || below === Object.prototype) break
    for (const name of Object.getOwnPropertyNames(level)) {
      if (typeof Reflect.get(model, name) === 'function' && name !== 'constructor') names.add(name)
    }
    level = below
  }
  return [...names]
}

function describe(model: Model): ThreadedState {
  const { modelSpec, params, labels, metrics, modelPath } = model
  return {
    className: model.constructor.name,
    hooks: ownHooks(model),
    modelSpec,
    params,
    labels,
    metrics,
    modelPath,
  }
}

/** Numbers and texts the model has set, with every answer: the server shows them in records and metrics. */
function metricsOf(model: Model): { metrics?: Record<string, unknown> } {
  return Object.keys(model.metrics).length > 0 ? { metrics: model.metrics } : {}
}

async function call(model: Model, message: ToThread & { kind: 'call' }): Promise<void> {
  const { id, method, args, info, event } = message
  Atomics.store(begun, 0, BigInt(id))
  const abort = new AbortController()
  running.set(id, abort)
  const context = event ? [new ModelEvent(event, abort)] : info ? [{ ...info, signal: abort.signal }] : []
  await answer(model, id, async () => {
    const hook: unknown = Reflect.get(model, method)
    if (typeof hook !== 'function') throw new Error(`the model has no ${method}`)
    const value: unknown = await Reflect.apply(hook, model, [...args, ...context])
    if (isAsyncIterable(value)) streams.set(id, value[Symbol.asyncIterator]())
    return value
  })
  if (!streams.has(id)) running.delete(id)
}

async function step(
  model: Model,
  { kind, id, stream }: ToThread & { kind: 'next' | 'return' },
): Promise<void> {
  const iterator = streams.get(stream)
  await answer(model, id, async () => {
    let done = true
    try {
      const result = kind === 'next' ? await iterator?.next() : await iterator?.return?.()
      done = kind === 'return' || !result || result.done === true
      return done ? { done } : { done, value: result?.value }
    } finally {
      if (done) forget(stream)
    }
  })
}

function forget(stream: number): void {
  streams.delete(stream)
  running.delete(stream)
}

async function answer(model: Model, id: number, work: () => Promise<unknown>): Promise<void> {
  try {
    say({ kind: 'result', id, value: await packValue(await work()), ...metricsOf(model) })
  } catch (error) {
    const wire = packError(error)
    try {
      say({ kind: 'error', id, error: wire, ...metricsOf(model) })
    } catch {
      // A metric that cannot be copied must not cost the answer.
      say({ kind: 'error', id, error: wire })
    }
  }
}

function listen(model: Model): void {
  parentPort?.on('message', (message: ToThread) => {
    if (message.kind === 'ping') say({ kind: 'pong' })
    else if (message.kind === 'abort') running.get(message.id)?.abort(unpackError(message.error))
    else if (message.kind === 'call') void call(model, message)
    else void step(model, message)
  })
}

try {
  const model = await loadModel()
  say({ kind: 'loaded', state: describe(model) })
  listen(model)
} catch (error) {
  say({ kind: 'load-failed', error: packError(error) })
}
