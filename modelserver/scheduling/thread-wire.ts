/** What a model's thread and the server say to each other, and how errors and Responses cross. Starts nothing. */

import type { MessagePort } from 'node:worker_threads'
import {
  Exception,
  errorClass,
  HttpError,
  InferenceError,
  InvalidInput,
  MLRunInvalidArgumentError,
  NotImplementedError,
  OverloadedError,
  RuntimeError,
  ValueError,
} from '../errors.ts'
import type { EventFields } from '../event.ts'
import type { ModelOptions } from '../model.ts'
import type { ModelSpec } from '../model-spec.ts'

/** What the thread is started with. */
export interface ThreadData {
  /** URL of the module that exports the model's class. */
  module: string
  exportName: string
  options: Omit<ModelOptions, 'context' | 'model'>
  server: { workerId: number; verbose: boolean; server: string; project: string }
  /** BigInt64: the id of the last call the thread has begun. */
  begun: SharedArrayBuffer
  /** Int32: 1 when the answer to the thread's question lies in `questions`. */
  answered: SharedArrayBuffer
  questions: MessagePort
}

/** A question the thread waits for, standing still. */
export type Question = { method: 'getParam' | 'getSecret'; key: string }
export type Answer = { found: boolean; value: unknown }

/** What a class turned out to be, once loaded. */
export interface ThreadedState {
  className: string
  /** Hooks the class writes itself, `op_` functions among them. */
  hooks: string[]
  modelSpec: ModelSpec | undefined
  params: Record<string, unknown>
  labels: Record<string, unknown>
  metrics: Record<string, unknown>
  modelPath: string
}

export type ToThread =
  | { kind: 'call'; id: number; method: string; args: unknown[]; info?: object; event?: EventFields }
  /** Asks a stream for its next value, or ends it. */
  | { kind: 'next' | 'return'; id: number; stream: number }
  | { kind: 'abort'; id: number; error: WireError }
  | { kind: 'ping' }

export type FromThread =
  | { kind: 'loaded'; state: ThreadedState }
  | { kind: 'load-failed'; error: WireError }
  | { kind: 'result'; id: number; value: WireValue; metrics?: Record<string, unknown> }
  | { kind: 'error'; id: number; error: WireError; metrics?: Record<string, unknown> }
  | { kind: 'pong' }
  | { kind: 'log'; level: LogLevel; fields: object; message: string }
  | { kind: 'push-error'; event: { id: unknown; body: unknown }; message: string }

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

export type WireValue =
  | { form: 'value'; value: unknown }
  /** An async iterable; its values are asked for one by one under the id of the call. */
  | { form: 'stream' }
  | { form: 'response'; status: number; headers: Array<[string, string]>; body: ArrayBuffer | undefined }

export type WireError =
  | {
      isError: true
      name: string
      message: string
      stack?: string
      status?: number
      retryAfterS?: number
      cause?: WireError
    }
  | { isError: false; thrown: string }

type Rebuild = (message: string, options: ErrorOptions) => Error

const known: Record<string, Rebuild> = {
  ValueError: (message, options) => new ValueError(message, options),
  RuntimeError: (message, options) => new RuntimeError(message, options),
  Exception: (message, options) => new Exception(message, options),
  NotImplementedError: (message, options) => new NotImplementedError(message, options),
  MLRunInvalidArgumentError: (message, options) => new MLRunInvalidArgumentError(message, options),
  InvalidInput: (message, options) => new InvalidInput(message, options),
  InferenceError: (message, options) => new InferenceError(message, options),
}

const deepestCause = 16

export function packError(error: unknown, depth = 0): WireError {
  if (!(error instanceof Error)) return { isError: false, thrown: String(error) }
  const { cause, stack } = error
  return {
    isError: true,
    name: errorClass(error),
    message: error.message,
    ...(stack === undefined ? {} : { stack }),
    ...(error instanceof HttpError ? { status: error.status } : {}),
    ...(error instanceof HttpError && error.retryAfterS !== undefined
      ? { retryAfterS: error.retryAfterS }
      : {}),
    ...(cause == null || depth >= deepestCause ? {} : { cause: packError(cause, depth + 1) }),
  }
}

/** An error of the same class, as far as the model server knows the class; else an `Error` of that name. */
export function unpackError(wire: WireError): unknown {
  if (!wire.isError) return wire.thrown
  const options = wire.cause === undefined ? {} : { cause: unpackError(wire.cause) }
  const error = rebuild(wire, options)
  // The name is the identity: plain `Error`s of the user's own classes keep theirs.
  if (error.name !== wire.name) Object.defineProperty(error, 'name', { value: wire.name, configurable: true })
  if (wire.stack !== undefined) error.stack = wire.stack
  return error
}

function rebuild(wire: WireError & { isError: true }, options: ErrorOptions): Error {
  const { status, retryAfterS, message } = wire
  if (status !== undefined) {
    const retry = retryAfterS === undefined ? {} : { retryAfterS }
    return wire.name === 'OverloadedError'
      ? new OverloadedError(message, { ...options, ...retry, status })
      : new HttpError(status, message, { ...options, ...retry })
  }
  const make = known[wire.name]
  return make ? make(message, options) : new Error(message, options)
}

export async function packValue(value: unknown): Promise<WireValue> {
  if (isAsyncIterable(value)) return { form: 'stream' }
  if (value instanceof Response) {
    const body = value.body === null ? undefined : await value.arrayBuffer()
    return { form: 'response', status: value.status, headers: [...value.headers], body }
  }
  return { form: 'value', value }
}

export function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return (
    typeof value === 'object' &&
    value !== null &&
    Symbol.asyncIterator in value &&
    !(value instanceof Response)
  )
}
