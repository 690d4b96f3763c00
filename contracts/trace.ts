/** W3C trace context as it crosses processes: its form, where it travels, ids of workflow spans. Free of zod; records no span. */

/** Request header, and header of workflows and activities in Temporal. Its value is a `traceparent` of version 00. */
export const traceHeader = 'traceparent'

const traceparentForm = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/

/** The text if it is a trace context; undefined for anything else, such as a header that a caller made up. */
export function traceparentOf(text: unknown): string | undefined {
  return typeof text === 'string' && traceparentForm.test(text) ? text : undefined
}

export function traceIdOf(traceparent: string): string {
  return traceparent.slice(3, 35)
}

export function spanIdOf(traceparent: string): string {
  return traceparent.slice(36, 52)
}

export function isSampled(traceparent: string): boolean {
  return (Number.parseInt(traceparent.slice(53), 16) & 1) === 1
}

/**
 * The context of a workflow run under `parent`. Its span id comes from the run's id: whichever worker goes on with the
 * run names the same span, also when another has died before it.
 */
export function workflowTrace(parent: string, runId: string): string {
  const spanId = runId.replaceAll('-', '').slice(-16)
  return `${parent.slice(0, 36)}${spanId}${parent.slice(52)}`
}

/** A workflow run that is over, as the workflow itself tells it. Times since 1970. */
export interface WorkflowSpan {
  parent: string
  own: string
  name: string
  startedAtMs: number
  endedAtMs: number
  outcome: 'completed' | 'canceled' | 'failed' | 'continued'
}

/** What workflows call out of their isolate: fire and forget, not while a history is replayed. */
export type TraceSinks = { tracing: { ended(span: WorkflowSpan): void } }
