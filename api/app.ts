/** The public HTTP surface: every route on one Hono app. Owns no logic beyond mounting and unknown paths. */
import { OpenAPIHono } from '@hono/zod-openapi'
import { ServiceError } from '../contracts/errors.ts'
import { observe } from '../runtime/http/observe.ts'
import type { ApiDeps, ApiSettings } from './deps.ts'
import { errorResponse } from './errors.ts'
import { surfaceOf } from './http/surface.ts'
import { mountAsyncPredict } from './routes/async-predict.ts'
import { mountBlessings } from './routes/blessings.ts'
import { mountCancel } from './routes/cancel.ts'
import { mountDeliveries } from './routes/deliveries.ts'
import { mountDocs } from './routes/docs.ts'
import { mountGenerate } from './routes/generate.ts'
import { mountHealth } from './routes/health.ts'
import { mountModels } from './routes/models.ts'
import { mountPredict } from './routes/predict.ts'
import { mountPredictionEvents } from './routes/prediction-events.ts'
import { mountPredictions } from './routes/predictions.ts'
import { mountQueue } from './routes/queue.ts'
import { mountReference } from './routes/reference.ts'
import { mountTask } from './routes/task.ts'
import { mountValidations } from './routes/validations.ts'
import type { Api, ApiContext, ApiEnv } from './surface.ts'

export type { ApiDeps, ApiSettings } from './deps.ts'
export type { Api } from './surface.ts'

export function makeApp(deps: ApiDeps, settings: ApiSettings): Api {
  const { log, metrics, store } = deps
  const app: Api = new OpenAPIHono<ApiEnv>()

  mountPredict(app, deps, settings)
  mountAsyncPredict(app, deps, settings)
  // Before /task/{id}, which would take modelstatus for an id.
  if (deps.recordRoutes !== undefined) app.route('/', deps.recordRoutes)
  if (deps.generations !== undefined) mountGenerate(app, deps, settings, deps.generations)
  mountTask(app, deps)
  mountCancel(app, deps)
  mountQueue(app, deps, settings)
  mountDocs(app, deps, settings)
  mountModels(app, deps)
  mountPredictions(app, deps, settings)
  mountPredictionEvents(app, deps)
  mountDeliveries(app, deps)
  if (deps.validations !== undefined) {
    mountValidations(app, deps, settings, deps.validations)
    mountBlessings(app, deps, settings, deps.validations)
  }
  mountHealth(app, deps)
  mountReference(app, deps)

  metrics.backlogFrom({
    store: () => store.figures(settings.queue, settings.taskTimeoutMs + overdueMarginMs),
    maxQueueSize: settings.maxQueueSize,
    ...(deps.queueBacklogs && { temporal: deps.queueBacklogs }),
  })

  app.onError((error, c) => errorResponse(error, surfaceOf(c.req.path), log))
  app.notFound(observe(deps, 'unmatched', 'inherited', (c) => noRoute(app, deps, c)))
  return app
}

/** What ends at the task timeout is written a little later. */
const overdueMarginMs = 60_000

const methods = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const

/** 404, or 405 with `Allow` where the path is known under another method. */
function noRoute(app: Api, { log }: ApiDeps, c: ApiContext): Response {
  const { path, method } = c.req
  const allowed = methods.filter((word) => app.router.match(word, path)[0].length > 0)
  const surface = surfaceOf(path)
  if (allowed.length === 0)
    return errorResponse(new ServiceError('not_found', 'page not found'), surface, log)
  return errorResponse(
    new ServiceError('method_not_allowed', `${method} is not allowed here`),
    surface,
    log,
    { headers: { allow: allowed.join(', ') } },
  )
}
