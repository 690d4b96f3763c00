/** Measures, logs and traces a handler, and answers its errors: one closure around it. Mounts nothing. */
import { performance } from 'node:perf_hooks'
import { errorResponse, type Surface } from '../../api/errors.ts'
import { attributesOf, subjectOf } from '../../api/subject.ts'
import { codeOf } from '../../contracts/errors.ts'
import { traceHeader, traceparentOf } from '../../contracts/trace.ts'
import type { Logger } from '../../logging.ts'
import type { Metrics } from '../../metrics.ts'
import { inSpan, type Traced } from '../../tracing.ts'
import { loggedPath } from './logged-path.ts'

export interface Observing {
  metrics: Pick<Metrics, 'route'>
  log: Logger
}

/** Of a handler's context, what observing it takes. */
export interface Observed {
  req: {
    method: string
    path: string
    header(name: string): string | undefined
    param(name: string): string | undefined
  }
}

/** The measured, logged and traced form of a handler; never throws. `path` is the label of its metrics. */
export function observe<C extends Observed>(
  { metrics, log }: Observing,
  path: string,
  surface: Surface,
  handler: (c: C) => Response | Promise<Response>,
): (c: C) => Promise<Response> {
  const measure = metrics.route(path)

  async function observed(c: C, span: Traced): Promise<Response> {
    const began = performance.now()
    const { method, path: asked } = c.req
    const subject = () => subjectOf(c, path, c.req.param('id'))
    let code: string | undefined
    let response: Response
    try {
      response = await handler(c)
    } catch (error) {
      code = codeOf(error)
      response = errorResponse(error, surface, log.child(subject()))
    }
    const ms = performance.now() - began
    const { status } = response
    measure(status, ms / 1000)
    const line = { method, path: loggedPath(asked), status, ms: Math.round(ms * 100) / 100 }
    log.info({ ...line, ...subject() }, 'request')
    span.set({ 'http.response.status_code': status, ...attributesOf(subject()) })
    if (status >= 500) span.failed(code ?? String(status))
    return response
  }

  // Probes come every few seconds and are nobody's work.
  if (probes.has(path)) return (c) => observed(c, unobserved)
  return (c) => {
    const { method } = c.req
    const attributes = { 'http.request.method': method, 'http.route': path }
    const parent = traceparentOf(c.req.header(traceHeader))
    return inSpan(`${method} ${path}`, { kind: 'server', parent, attributes }, (span) => observed(c, span))
  }
}

const probes: ReadonlySet<string> = new Set(['/live', '/ready', '/metrics'])
const unobserved: Traced = { set: () => undefined, failed: () => undefined }
