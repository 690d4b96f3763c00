/**
 * Spans of this process, and the trace context that is handed on from here. Off until `recordSpans`: then nothing is
 * recorded, and the context that a caller sent goes on as it came. Spans carry ids, names and codes; never payloads.
 */
import {
  type Attributes,
  type Context,
  context,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api'
import { codeOf } from './contracts/errors.ts'
import { isSampled, spanIdOf, traceIdOf, type WorkflowSpan } from './contracts/trace.ts'

export interface SpanSettings {
  /** `server`: of a request that came in; `client`: of one that goes out. */
  kind?: 'server' | 'client' | 'producer' | 'consumer'
  /** A `traceparent`; absent = the span that is active here, else a new trace begins. */
  parent?: string | undefined
  /** `traceparent`s of spans in other traces that this one works for. */
  links?: readonly string[]
  attributes?: Attributes
}

/** What runs inside a span sees of it. */
export interface Traced {
  /** To be sent on; absent if there is no trace. */
  readonly traceparent?: string
  set(attributes: Attributes): void
  /** It ended badly without an exception. */
  failed(code: string): void
}

const kinds = {
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
  producer: SpanKind.PRODUCER,
  consumer: SpanKind.CONSUMER,
} as const

/** What makes spans, see tracing/export.ts. */
export interface Recorder {
  tracer: Tracer
  /** The next span gets this id instead of a random one. */
  nextSpanId(id: string): void
}

const ignore = () => undefined
let recorder: Recorder | undefined

/** From now on spans are recorded; undefined = no longer. */
export function recordSpans(by: Recorder | undefined): void {
  recorder = by
}

/** Runs `run` inside a span that ends with it. What it throws is noted as its error code. */
export async function inSpan<T>(
  name: string,
  settings: SpanSettings,
  run: (traced: Traced) => Promise<T>,
): Promise<T> {
  if (recorder === undefined) return run(passedOn(settings.parent))
  const { span, within } = begin(recorder, name, settings)
  try {
    return await context.with(within, () => run(tracedOf(span)))
  } catch (error) {
    failed(span, codeOf(error))
    throw error
  } finally {
    span.end()
  }
}

/** A span that ends when it is told to; nothing runs inside it. */
export function openSpan(name: string, settings: SpanSettings): Traced & { end(): void } {
  if (recorder === undefined) return { ...passedOn(settings.parent), end: ignore }
  const { span } = begin(recorder, name, settings)
  return { ...tracedOf(span), end: () => span.end() }
}

function begin({ tracer }: Recorder, name: string, settings: SpanSettings): { span: Span; within: Context } {
  const { kind, parent, links = [], attributes = {} } = settings
  const under = parent === undefined ? context.active() : contextOf(parent)
  const options = {
    attributes,
    ...(kind !== undefined && { kind: kinds[kind] }),
    links: links.map((link) => ({ context: spanContextOf(link) })),
  }
  const span = tracer.startSpan(name, options, under)
  return { span, within: trace.setSpan(under, span) }
}

function passedOn(parent: string | undefined): Traced {
  return { ...(parent !== undefined && { traceparent: parent }), set: ignore, failed: ignore }
}

/** For what one member of a group does: in its own trace, and linked with the group's span if that is in another. */
export function asMember(trace: string | undefined): Pick<SpanSettings, 'parent' | 'links'> {
  const group = activeTrace()
  if (trace === undefined || group === undefined) return { parent: trace }
  return traceIdOf(group) === traceIdOf(trace) ? { parent: group } : { parent: trace, links: [group] }
}

/** Runs `run` as part of a trace without a span of its own. */
export function underTrace<T>(trace: string | undefined, run: () => T): T {
  if (recorder === undefined || trace === undefined) return run()
  return context.with(contextOf(trace), run)
}

/** A workflow run that is over: it ran in an isolate that records nothing itself. */
export function workflowOver(span: WorkflowSpan, ids: { workflowId: string; runId: string }): void {
  if (recorder === undefined) return
  const { parent, own, name, startedAtMs, endedAtMs, outcome } = span
  const attributes = {
    'temporal.workflow.id': ids.workflowId,
    'temporal.run.id': ids.runId,
    'perdure.outcome': outcome,
  }
  recorder.nextSpanId(spanIdOf(own))
  const made = recorder.tracer.startSpan(name, { startTime: startedAtMs, attributes }, contextOf(parent))
  if (outcome === 'failed') failed(made, 'workflow_failed')
  made.end(endedAtMs)
}

/** `traceparent` of the span that is active here. */
export function activeTrace(): string | undefined {
  if (recorder === undefined) return undefined
  const active = trace.getActiveSpan()?.spanContext()
  return active && traceparentFrom(active)
}

/** For log lines: the ids of the span that is active here, in OpenTelemetry's spelling. */
export function traceFields(): { trace_id?: string; span_id?: string } {
  const active = activeTrace()
  return active === undefined ? {} : { trace_id: traceIdOf(active), span_id: spanIdOf(active) }
}

function tracedOf(span: Span): Traced {
  return {
    traceparent: traceparentFrom(span.spanContext()),
    set: (attributes) => void span.setAttributes(attributes),
    failed: (code) => failed(span, code),
  }
}

function failed(span: Span, code: string): void {
  span.setAttribute('error.type', code)
  span.setStatus({ code: SpanStatusCode.ERROR, message: code })
}

function contextOf(traceparent: string): Context {
  return trace.setSpanContext(ROOT_CONTEXT, spanContextOf(traceparent))
}

function spanContextOf(traceparent: string): SpanContext {
  return {
    traceId: traceIdOf(traceparent),
    spanId: spanIdOf(traceparent),
    traceFlags: isSampled(traceparent) ? 1 : 0,
    isRemote: true,
  }
}

function traceparentFrom({ traceId, spanId, traceFlags }: SpanContext): string {
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`
}
