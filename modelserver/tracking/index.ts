/** The door of tracking: records of what models answered, the streams they go to, and model endpoint records. */

export { formatWhen, microsecSince, type Start, startClock } from './clock.ts'
export {
  type EndpointAttributes,
  type EndpointDescription,
  type EndpointRecord,
  type EndpointStore,
  endpointRecord,
  MemoryEndpointStore,
  registerEndpoint,
} from './endpoints.ts'
export { ErrorStream, type ErrorStreamOptions } from './errors.ts'
export { endpointUid, type FunctionUri, modelString, parseFunctionUri } from './function-uri.ts'
export { perdureEndpoints } from './perdure.ts'
export { planTracking, type TrackingOptions, type TrackingPlan } from './plan.ts'
export { PushError, type PushFailure } from './push.ts'
export {
  type Failure,
  loggedPair,
  Recorder,
  type RecorderOptions,
  type Success,
  type TrackedModel,
} from './recorder.ts'
export { snapshot } from './snapshot.ts'
export { DummyStream, openStream } from './streams.ts'
export type { StreamTarget } from './target.ts'
