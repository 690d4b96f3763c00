/** What every platform offers. One attempt per call: repeating is decided elsewhere (contracts/retry.ts). */
import type { Lane, PlatformName } from '../contracts/names.ts'

/** Where one model is served; from `ML_PLATFORM`'s settings or a line of the models file. */
export interface ModelTarget {
  /** The name the caller used. */
  name: string
  version: string
  platform: PlatformName
  /** `host:port`. */
  address: string
  /** The name the model server knows; usually `name`. */
  upstreamName: string
  /** kserve: `v1` or `v2`; v2: `mlrun` or `oip`; elsewhere empty. */
  protocol: 'v1' | 'v2' | 'mlrun' | 'oip' | ''
  /** Longest one attempt may take. */
  timeoutMs: number
  /** Most asynchronous calls at once per process; absent = only `WORKER_CONCURRENCY` limits. */
  concurrency?: number
}

export interface CallRequest {
  /** Prediction id; also the idempotency key of the call. */
  id: string
  target: ModelTarget
  /** JSON text of the request's `inputs`, numbers digit for digit. */
  inputs: string
  /** Aborts on cancel: closes the connection. */
  signal: AbortSignal
  /** What is left of the prediction's budget; the attempt ends at the smaller of this and `target.timeoutMs`. */
  remainingMs: number
  /** More request headers, such as `traceparent`. */
  headers?: Readonly<Record<string, string>>
}

export interface CallResult {
  /** JSON text of the record's `outputs`. */
  outputs: string
  /** Inherited text (`1.250000s`), empty if the platform names none. */
  runningTime: string
}

/** A platform whose answer comes on the request itself: kserve, k8s, v2. */
export interface CallPlatform {
  readonly name: PlatformName
  readonly lane: Extract<Lane, 'call'>
  /**
   * One attempt. Throws `ServiceError` with a `platform_*` code and the inherited number (2.3); `prediction_timeout`
   * when the time ran out; `prediction_canceled` when `signal` fired.
   */
  call(request: CallRequest): Promise<CallResult>
  /** What the platform says about a model, as JSON text; `""` (a JSON string) where it has nothing. */
  docs(target: ModelTarget, signal: AbortSignal): Promise<string>
  /** Closes idle connections; running calls end first. */
  close(): Promise<void>
}

export type Platform = CallPlatform

/** A key that prints as `***`; `reveal()` is for the request header only. Structural, so config.ts can make it. */
export interface SecretText {
  reveal(): string
}

/** Settings of one platform, as config.ts reads them from the environment. */
export type PlatformSettings =
  | {
      platform: 'kserve'
      address: string
      customDomain: string
      namespace: string
      version: string
      protocol: 'v1' | 'v2'
      timeoutMs: number
    }
  | { platform: 'k8s'; address: string; timeoutMs: number }
  | { platform: 'v2'; address: string; protocol: 'mlrun' | 'oip'; timeoutMs: number }
  | { platform: 'replicate'; address: string; apiKey: SecretText; modelId: string; timeoutMs: number }
  | { platform: 'runpod'; address: string; apiKey: SecretText; modelId: string; timeoutMs: number }
