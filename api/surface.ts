/** What every route is given and how it is mounted: described once, measured, logged, its errors answered. */
import type { IncomingMessage } from 'node:http'
import { performance } from 'node:perf_hooks'
import type { HttpBindings } from '@hono/node-server'
import type { OpenAPIHono, RouteConfig } from '@hono/zod-openapi'
import type { Context, Hono } from 'hono'
import { codeOf } from '../contracts/errors.ts'
import type { PlatformName } from '../contracts/names.ts'
import { traceHeader, traceparentOf } from '../contracts/trace.ts'
import type { Logger } from '../logging.ts'
import type { Metrics, QueueBacklog } from '../metrics.ts'
import type { AddressGuard } from '../platforms/guarded-address.ts'
import type { Platform } from '../platforms/platform.ts'
import type { Routing } from '../platforms/routing.ts'
import type { Store } from '../records/store.ts'
import { inSpan, type Traced } from '../tracing.ts'
import { errorResponse, type Surface } from './errors.ts'
import type { Gate } from './gate.ts'
import type { Generations } from './generation.ts'
import type { PredictionService } from './predictions.ts'
import type { Readiness } from './readiness.ts'
import { attributesOf, subjectOf } from './subject.ts'
import type { ValidationService } from './validations.ts'

/** `incoming` is absent where no server is behind the app, as in `app.request()`. */
export interface ApiEnv {
  Bindings: Partial<HttpBindings>
}
export type Api = OpenAPIHono<ApiEnv>
export type ApiContext = Context<ApiEnv>

export interface ApiDeps {
  service: PredictionService
  store: Pick<
    Store,
    | 'get'
    | 'list'
    | 'count'
    | 'figures'
    | 'pause'
    | 'unpause'
    | 'deletePending'
    | 'meanRunMs'
    | 'inputsOf'
    | 'deliveries'
  >
  routing: Routing
  /** Throws `platform_unsupported` where there are no settings. */
  platform(name: PlatformName): Platform
  readiness: Pick<Readiness, 'now'>
  metrics: Metrics
  /** Of Temporal's task queues; absent: not measured. */
  queueBacklogs?(): Promise<QueueBacklog[]>
  log: Logger
  /** Absent: every model serves. */
  gate?: Gate
  /** Absent: no webhooks can be ordered. */
  webhookGuard?: Pick<AddressGuard, 'refusalNow'>
  /** Absent: no `/v1/generate`. */
  generations?: Generations
  /** Absent: no validation routes. */
  validations?: ValidationService
  /** Routes of the record service, served on the same port: tasks of others, uploads, downloads. */
  recordRoutes?: Hono<{ Bindings: { incoming?: IncomingMessage } }>
}

export interface ApiSettings {
  /** `TASK_TYPE_NAME`. */
  queue: string
  maxQueueSize: number
  maxBodyBytes: number
  /** Filter of `/delete_pending`; empty = all. */
  modelName: string
  /** Framing of `/v1/generate` where Accept does not say; `sse` if absent. */
  generateDefault?: 'sse' | 'ndjson'
  /** Where the model uploads files of one prediction, `http://…/upload`. The port may be known late. */
  uploadWebhook(predictionId: string): string
}

export interface Route extends RouteConfig {
  getRoutingPath(): string
}

export type Handler = (c: ApiContext) => Response | Promise<Response>

/** Mounts a route without any middleware: measuring, logging and errors are one closure around its handler. */
export function mount(
  app: Api,
  { metrics, log }: Pick<ApiDeps, 'metrics' | 'log'>,
  route: Route,
  surface: Surface,
  handler: Handler,
): void {
  app.openAPIRegistry.registerPath(route)
  const path = route.getRoutingPath()
  const observed = observe({ metrics, log }, path, surface, handler)
  app.on(route.method.toUpperCase(), path, observed)
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
  { metrics, log }: Pick<ApiDeps, 'metrics' | 'log'>,
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
    const line = { method, path: withoutToken(asked), status, ms: Math.round(ms * 100) / 100 }
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

/** Whoever reads an upload address may upload: logs do not have it. */
function withoutToken(path: string): string {
  return path.replace(/^\/u\/[^/]+/, '/u/:token')
}

const probes: ReadonlySet<string> = new Set(['/live', '/ready', '/metrics'])
const unobserved: Traced = { set: () => undefined, failed: () => undefined }
