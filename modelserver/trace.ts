/** W3C Trace Context, level 2: continues the trace a caller names. Starts none, samples nothing, exports nothing. */

import { randomBytes } from 'node:crypto'
import { type EventHeaders, header } from './messages/headers.ts'

/** Ids are lower-case hex: 32 digits for the trace, 16 for a span. */
export interface TraceContext {
  readonly traceId: string
  /** Of this request, made here. */
  readonly spanId: string
  /** Of the caller. */
  readonly parentId: string
  /** Two hex digits; the lowest bit says that the caller records the trace. */
  readonly flags: string
  /** The vendors' part, passed on as it came. */
  readonly state: string | undefined
}

const form =
  /^(?!ff)[0-9a-f]{2}-(?!0{32})(?<trace>[0-9a-f]{32})-(?!0{16})(?<span>[0-9a-f]{16})-(?<flags>[0-9a-f]{2})(?<more>-.*)?$/
const mostState = 512

/** undefined without a `traceparent`, or with one that is not valid: then the caller's trace ends here, as the standard asks. */
export function continueTrace(headers: EventHeaders): TraceContext | undefined {
  const sent = header(headers, 'traceparent')
  if (sent === undefined) return undefined
  const parts = form.exec(sent)?.groups
  // Version 00 has four parts; later ones may have more.
  if (parts === undefined || (sent.startsWith('00') && parts.more !== undefined)) return undefined
  const states = headers.tracestate
  const state = typeof states === 'object' ? states.join(',') : states
  return {
    traceId: parts.trace ?? '',
    spanId: randomBytes(8).toString('hex'),
    parentId: parts.span ?? '',
    flags: parts.flags ?? '00',
    state: state !== undefined && state.length <= mostState ? state : undefined,
  }
}

/** The header by which the next one continues the trace, and by which `traceresponse` tells the caller of this span. */
export function traceparent({ traceId, spanId, flags }: TraceContext): string {
  return `00-${traceId}-${spanId}-${flags}`
}
