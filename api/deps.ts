/** What the routes are given: services, store and settings. Types only. */
import type { IncomingMessage } from 'node:http'
import type { Hono } from 'hono'
import type { PlatformName } from '../contracts/names.ts'
import type { Logger } from '../logging.ts'
import type { Metrics, QueueBacklog } from '../metrics.ts'
import type { AddressGuard } from '../platforms/guarded-address.ts'
import type { Platform } from '../platforms/platform.ts'
import type { Routing } from '../platforms/routing.ts'
import type { Store } from '../records/store.ts'
import type { Gate } from './gate.ts'
import type { Generations } from './generation.ts'
import type { PredictionService } from './predictions.ts'
import type { Readiness } from './readiness.ts'
import type { ValidationService } from './validations.ts'

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
  readiness: Pick<Readiness, 'now' | 'temporalAnswers'>
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
  taskTimeoutMs: number
  maxBodyBytes: number
  /** Filter of `/delete_pending`; empty = all. */
  modelName: string
  /** Framing of `/v1/generate` where Accept does not say; `sse` if absent. */
  generateDefault?: 'sse' | 'ndjson'
  /** Where the model uploads files of one prediction, `http://…/upload`. The port may be known late. */
  uploadWebhook(predictionId: string): string
}
