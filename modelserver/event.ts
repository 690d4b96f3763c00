/** One request as routers and models see it, whatever carried it here. Refuses to parse bodies. */

import { type AbortParent, AbortSource } from './abort.ts'
import type { EventHeaders } from './messages/headers.ts'
import type { TraceContext } from './trace.ts'

export interface Trigger {
  /** `''` or `http`: a caller waits on HTTP; any other value: read from a stream. */
  kind: string
  name: string
}

export interface EventFields {
  id: string
  path: string
  method: string
  headers: EventHeaders
  contentType: string
  body: unknown
  trigger: Trigger
  /** The caller's trace, if it named one. */
  trace?: TraceContext | undefined
}

/** `id` may be constructed empty: then one is made. `body` is what was parsed, raw bytes where nothing could parse them, or undefined. */
export class ModelEvent implements EventFields {
  #id: string
  path: string
  method: string
  headers: EventHeaders
  contentType: string
  body: unknown
  trigger: Trigger
  readonly trace: TraceContext | undefined
  readonly #abort: AbortParent

  constructor(fields: EventFields, abort: AbortParent = new AbortSource()) {
    this.#id = fields.id
    this.path = fields.path
    this.method = fields.method
    this.headers = fields.headers
    this.contentType = fields.contentType
    this.body = fields.body
    this.trigger = fields.trigger
    this.trace = fields.trace
    this.#abort = abort
  }

  /** The one that was sent; where there is none, one is made when somebody asks. */
  get id(): string {
    if (this.#id === '') this.#id = newEventId()
    return this.#id
  }

  set id(id: string) {
    this.#id = id
  }

  /** Aborts when the caller goes away or the server stops by force. */
  get signal(): AbortSignal {
    return this.#abort.signal
  }

  /** The same request with another body or path, aborted together with this one. */
  copy(changes: Partial<EventFields> = {}): ModelEvent {
    return new ModelEvent({ ...this.fields(), ...changes }, this.#abort)
  }

  fields(): EventFields {
    const { id, path, method, headers, contentType, body, trigger, trace } = this
    return { id, path, method, headers, contentType, body, trigger, trace }
  }
}

export const httpTrigger: Trigger = { kind: 'http', name: 'http' }

export function isHttp(trigger: Trigger): boolean {
  return trigger.kind === '' || trigger.kind === 'http'
}

const pathless = new Set(['kafka', 'kafka-cluster', 'v3ioStream', 'v3io-stream', 'rabbit-mq', 'rabbitMq'])

/** Stream triggers whose events carry no path: they are sent to `/` (specification, 3.2). */
export function hasNoPath(trigger: Trigger): boolean {
  return pathless.has(trigger.kind)
}

/** A random UUID v4 in hex without dashes. */
export function newEventId(): string {
  return crypto.randomUUID().replaceAll('-', '')
}

/** A plain JSON-like object: no list, no bytes, no class instance such as a Response. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}
