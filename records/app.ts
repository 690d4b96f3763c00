/** The record service: `/task`, uploads and downloads over a store, beside the API or alone. */
import { Hono } from 'hono'
import { ServiceError } from '../contracts/errors.ts'
import { mountDownloadRoutes } from './download-routes.ts'
import {
  errorAnswer,
  jsonText,
  type RecordServiceApp,
  type RecordServiceDeps,
  type RecordServiceEnv,
  type RecordServiceSettings,
} from './service.ts'
import { mountTaskRead, mountTaskRoutes } from './task-routes.ts'
import { mountTrackingRoutes } from './tracking-routes.ts'
import { mountUploadRoutes } from './upload-routes.ts'

export type { RecordServiceDeps, RecordServiceSettings } from './service.ts'

/**
 * The routes to mount beside the API with `app.route('/', …)`, before its own `GET /task/{id}`: `modelstatus` would
 * be taken for an id.
 */
export function makeRecordRoutes(
  deps: RecordServiceDeps,
  settings: RecordServiceSettings,
  onUnexpected: (error: unknown) => void,
): RecordServiceApp {
  const app: RecordServiceApp = new Hono<RecordServiceEnv>()
  mountTaskRoutes(app, deps, settings)
  mountUploadRoutes(app, deps, settings)
  mountDownloadRoutes(app, deps, settings)
  mountTrackingRoutes(app, deps, settings)
  app.onError((error) => errorAnswer(error, onUnexpected))
  return app
}

/** The whole service, with health and unknown paths. */
export function makeRecordApp(
  deps: RecordServiceDeps,
  settings: RecordServiceSettings,
  onUnexpected: (error: unknown) => void,
): RecordServiceApp {
  const app = makeRecordRoutes(deps, settings, onUnexpected)
  mountTaskRead(app, deps, settings)
  app.get('/live', () => jsonText('{"message":"API OK"}'))
  app.get('/ready', async () => {
    await deps.store.ping()
    return jsonText('{"message":"API OK"}')
  })
  app.notFound(() => errorAnswer(new ServiceError('not_found', 'page not found'), onUnexpected))
  return app
}
