/** A call to a platform as a span: the request that leaves carries its context. Owns no retry and no outcome. */
import { traceHeader } from '../contracts/trace.ts'
import type { CallRequest } from '../platforms/platform.ts'
import { inSpan, type Traced } from '../tracing.ts'

/** `parent` is of the prediction's own span. Without any trace the request stays as it is. */
export function inCallSpan<T>(
  request: CallRequest,
  parent: string | undefined,
  call: (request: CallRequest, span: Traced) => Promise<T>,
): Promise<T> {
  const { id, target } = request
  const attributes = {
    'perdure.prediction.id': id,
    'perdure.model': target.name,
    'perdure.platform': target.platform,
  }
  return inSpan(`call ${target.platform}`, { kind: 'client', parent, attributes }, (span) =>
    call(
      span.traceparent === undefined
        ? request
        : { ...request, headers: { ...request.headers, [traceHeader]: span.traceparent } },
      span,
    ),
  )
}
