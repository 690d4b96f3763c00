/** What `createModelServer` takes. Defaults stand beside each option and are applied in server.ts. */

import type { Logger } from './context.ts'
import type { Protocol } from './model.ts'
import type { ModelRouter } from './router.ts'
import type { ModelSettings, ReadinessWait } from './settings.ts'
import type { EndpointStore, StreamTarget } from './tracking/index.ts'

export interface ServerOptions {
  /** Shown by GET /v2. Default `perdure`. */
  name?: string
  /** Shown by GET /v2. Default empty. */
  version?: string
  /** Protocol of models that name none, and of errors that concern no model. Default `v2`. */
  protocol?: Protocol
  /** Default: a `ModelRouter`. */
  router?: ModelRouter
  /** One model mounted at `/`, without a router. */
  model?: ModelSettings & { name: string }
  /** `project/function[@hash][:tag]`; tracking and endpoint records need it. */
  functionUri?: string
  /** Read by `getParam` of every model, and by tracking (`log_stream` …). */
  parameters?: Record<string, unknown>
  /** `sync` (default): `start()` waits for all models and fails with the first. `async`: it does not wait. */
  loadMode?: 'sync' | 'async'
  trackModels?: boolean
  /** Where records go when the parameter `log_stream` is not set. */
  monitoringStream?: string | StreamTarget
  /** Error answers carry the stack. Never in production: it shows the code's paths. */
  verbose?: boolean
  defaultContentType?: string
  /** A path, or `openStream(path, args)`. */
  errorStream?: string | StreamTarget
  /** Or `perdure://host:port`: Perdure's own store; one that wants a key is opened by `perdureEndpoints`. */
  endpointStore?: EndpointStore | string
  /** No endpoint records unless tracking is on. */
  mock?: boolean
  /** `timestamp` in answers of protocol `v2`. */
  timestamps?: boolean
  /** Switches `infer_dict` and `predict_dict` on. */
  dictOps?: boolean
  /** Larger bodies get 413. Default 64 MiB. */
  maxBodyBytes?: number
  /** `false`: the header `MLRUN-EVENT-PATH` is ignored. Default true. */
  eventPathHeader?: boolean
  /** `false` removes the repository paths. Default true. */
  repositoryApi?: boolean
  readinessWait?: ReadinessWait
  /** Silence after which a stream carries a comment line. Default 15,000. */
  pingMs?: number
  /** Default: none but for errors, which go to stderr. */
  logger?: Logger
  /** Answers `context.getSecret`. Default: no secrets. */
  getSecret?: (key: string) => string | undefined
}

/** What `setTracking` sets. */
export interface TrackingSettings {
  batch?: number
  sample?: number
  streamArgs?: Record<string, unknown>
  enable?: boolean
}
