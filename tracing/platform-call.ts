/** A call to a platform as a span: the request that leaves carries its context. Owns no retry and no outcome. */
import { traceHeader } from '../contracts/trace.ts'
import type { CallRequest } from '../platforms/platform.ts'
import { inSpan, openSpan, type SpanSettings, type Traced } from '../tracing.ts'

/** `parent` is of the prediction's own span. Without any trace the request stays as it is. */
export function inCallSpan<T>(
  request: CallRequest,
  parent: string | undefined,
  call: (request: CallRequest, span: Traced) => Promise<T>,
): Promise<T> {
  return inSpan(nameOf(request), settingsOf(request, parent), (span) => call(withTrace(request, span), span))
}

/** For a stream: the span ends when it is told to. */
export function openCallSpan(request: CallRequest, parent: string | undefined) {
  const span = openSpan(nameOf(request), settingsOf(request, parent))
  return { span, request: withTrace(request, span) }
}

function nameOf({ target }: CallRequest): string {
  return `call ${target.platform}`
}

function settingsOf({ id, target }: CallRequest, parent: string | undefined): SpanSettings {
  const attributes = {
    'perdure.prediction.id': id,
    'perdure.model': target.name,
    'perdure.platform': target.platform,
  }
  return { kind: 'client', parent, attributes }
}

function withTrace(request: CallRequest, { traceparent }: Traced): CallRequest {
  if (traceparent === undefined) return request
  return { ...request, headers: { ...request.headers, [traceHeader]: traceparent } }
}
