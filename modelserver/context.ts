/** What a model knows of the server around it and of the request it answers. */

import { AbortSource } from './abort.ts'
import type { ModelEvent, Trigger } from './event.ts'
import type { EventHeaders } from './messages/headers.ts'
import type { TraceContext } from './trace.ts'
import { type Start, startClock } from './tracking/index.ts'

export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** Set by the server on every model as `this.context`. */
export interface ServerContext {
  readonly logger: Logger
  readonly workerId: number
  readonly verbose: boolean
  /** The target of tracking records, if tracking is on. */
  readonly stream: unknown
  /** Name of the server. */
  readonly server: string
  /** Project part of the function URI, or empty. */
  readonly project: string
  getParam(key: string, defaultValue?: unknown): unknown
  getSecret(key: string): string | undefined
  /** Sends an error to the server's error stream, if it has one. */
  pushError(event: { id: unknown; body: unknown }, message: string): void
}

/** The request a hook is called for. `signal` aborts on client disconnect, timeout and forced stop. */
export interface RequestInfo {
  /** The body's `id` as it was sent, else the event id. */
  readonly id: unknown
  readonly op: string
  readonly path: string
  readonly method: string
  readonly headers: EventHeaders
  readonly trigger: Trigger
  /** The caller's trace, for calls that the model makes itself; undefined without one. */
  readonly trace: TraceContext | undefined
  /** The model's protocol, or `v1` in KServe V1 calls. */
  readonly protocol: string
  /** When handling began: wall clock and monotonic milliseconds. */
  readonly start: Start
  readonly signal: AbortSignal
}

/** `RequestInfo` as the server makes it: the signal is made when it is first read. */
export class RequestContext implements RequestInfo {
  readonly id: unknown
  readonly op: string
  readonly path: string
  readonly method: string
  readonly headers: EventHeaders
  readonly trigger: Trigger
  readonly trace: TraceContext | undefined
  readonly protocol: string
  readonly start: Start
  readonly #abort: AbortSource

  constructor(event: ModelEvent, id: unknown, op: string, protocol: string, start: Start = startClock()) {
    this.id = id
    this.op = op
    this.path = event.path
    this.method = event.method
    this.headers = event.headers
    this.trigger = event.trigger
    this.trace = event.trace
    this.protocol = protocol
    this.start = start
    this.#abort = new AbortSource(event)
  }

  get signal(): AbortSignal {
    return this.#abort.signal
  }

  abort(reason: unknown): void {
    this.#abort.abort(reason)
  }
}

/** The context of a joined batch: that of its first request, with the batch's own signal. */
export function batchContext(first: RequestInfo, signal: AbortSignal): RequestInfo {
  const { id, op, path, method, headers, trigger, trace, protocol, start } = first
  return { id, op, path, method, headers, trigger, trace, protocol, start, signal }
}
