/** The public door of the model server: write a model, serve it, test it. */

export type { ChildResult, Executor } from './children.ts'
export type { Logger, RequestInfo, ServerContext } from './context.ts'
export {
  EnrichmentModelRouter,
  EnrichmentVotingEnsemble,
  type FeatureService,
  type FeatureStatistics,
} from './enrichment.ts'
export { VotingEnsemble, type VotingEnsembleOptions } from './ensemble.ts'
export {
  Exception,
  HttpError,
  InferenceError,
  InvalidInput,
  MLRunInvalidArgumentError,
  NotImplementedError,
  OverloadedError,
  RuntimeError,
  ValueError,
} from './errors.ts'
export { ModelEvent, type Trigger } from './event.ts'
export { type Listening, listen } from './listen.ts'
export { type ModelClass, type ModelOptions, type ModelRequest, V2ModelServer } from './model.ts'
export type { Feature, ModelSpec } from './model-spec.ts'
export type { ServerOptions, TrackingSettings } from './options.ts'
export { ParallelRun, type ParallelRunOptions } from './parallel.ts'
export { ModelRouter, type RouterOptions } from './router.ts'
export type { RouteHandler } from './routes.ts'
export type { BatchingOptions, QueueLimits } from './scheduling/index.ts'
export { createModelServer, ModelServer } from './server.ts'
export type { ModelSettings } from './settings.ts'
export type { InferRequest, ReturnedTensor, Tensor } from './tensors/index.ts'
export type { TestAnswer, TestOptions } from './testing.ts'
export { type TraceContext, traceparent } from './trace.ts'
export {
  DummyStream,
  type EndpointRecord,
  type EndpointStore,
  MemoryEndpointStore,
  openStream,
  perdureEndpoints,
  type StreamTarget,
} from './tracking/index.ts'
