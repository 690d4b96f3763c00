/** A request as a transport hands it over, and the event made of it (specification, 3.2). */

import type { AbortSource } from './abort.ts'
import { type EventFields, hasNoPath, ModelEvent, type Trigger } from './event.ts'
import { type EventHeaders, header } from './messages/headers.ts'
import { continueTrace, type TraceContext } from './trace.ts'

export interface Incoming {
  readonly method: string
  /** Without query. */
  readonly path: string
  readonly headers: EventHeaders
  /** No bytes = no body. */
  readonly body: Uint8Array | undefined
  readonly trigger: Trigger
  readonly trace?: TraceContext | undefined
  readonly abort: AbortSource
  /** Set when the transport could not take the body in, e.g. because it is too large. */
  readonly fault?: Error
}

export interface EventRules {
  readonly defaultContentType: string
  /** Whether the header `MLRUN-EVENT-PATH` replaces the path. */
  readonly eventPathHeader: boolean
}

/** The event with its body as raw bytes; a GET body is dropped. */
export function toEvent(incoming: Incoming, rules: EventRules): ModelEvent {
  const { headers, trigger, body, trace } = incoming
  const method = incoming.method === 'HEAD' ? 'GET' : incoming.method
  const path = rules.eventPathHeader ? (header(headers, 'mlrun-event-path') ?? incoming.path) : incoming.path
  return new ModelEvent(
    {
      id: header(headers, 'mlrun-event-id') ?? '',
      path: hasNoPath(trigger) ? '/' : path,
      method,
      headers,
      contentType: header(headers, 'content-type') || rules.defaultContentType,
      body: method === 'GET' || body === undefined || body.byteLength === 0 ? undefined : body,
      trigger,
      trace,
    },
    incoming.abort,
  )
}

/** An event that a stream's reader hands over. Text is taken as bytes, so that its content type decides; an object stays. */
export function streamEvent(given: Partial<EventFields>, abort: AbortSource): ModelEvent {
  const { id = '', path = '/', contentType = '', trigger = { kind: '', name: '' } } = given
  const body = typeof given.body === 'string' ? Buffer.from(given.body) : given.body
  const typed = contentType === '' ? {} : { 'content-type': contentType }
  return new ModelEvent(
    {
      id,
      path: hasNoPath(trigger) ? '/' : path,
      method: given.method ?? (body === undefined ? 'GET' : 'POST'),
      headers: { ...given.headers, ...typed },
      contentType,
      body,
      trigger,
      trace: given.trace ?? continueTrace(given.headers ?? {}),
    },
    abort,
  )
}
