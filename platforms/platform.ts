/** What every platform offers. One attempt per call: repeating is decided elsewhere (contracts/retry.ts). */
import type { ServiceError } from '../contracts/errors.ts'
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
  /**
   * Pieces of text as the model makes them. The first `next()` throws what `call` throws, `platform_unsupported` if
   * the server has no streams; ending the loop early closes the connection. Absent = no streams on this platform.
   */
  stream?(request: CallRequest): AsyncIterable<StreamPiece>
  /** Closes idle connections; running calls end first. */
  close(): Promise<void>
}

/** Some of a streamed answer. */
export interface StreamPiece {
  data: string
}

/** What finds a job again. Carries data only: kept in the store from the moment the job exists. */
export interface JobHandle {
  jobId: string
  /** Addresses from the provider's answer. Used only if they are at the configured origin (`stream`: an allowed one). */
  hints: JobHints
}

export interface JobHints {
  get?: string
  cancel?: string
  stream?: string
}

export interface CreatedJob extends JobHandle {
  /** A job may be over when its creation is answered. */
  state: JobState
}

/** What a job has given so far. Absent = nothing, or too much to be passed on before the end. */
export interface JobProgress {
  /** JSON text of the output; of a job that has not succeeded. */
  output?: string
  logs?: string
}

/** What one poll has seen. */
export type JobState = JobPhase & { progress?: JobProgress }

export type JobPhase =
  /** `unknownWord`: a status this version does not know; polled on, worth one warning. */
  | { status: 'queued' | 'running'; unknownWord?: string }
  /** `outputs`: JSON text `{"output": …}`. `runningTime`: empty if the provider names none, then measure it. */
  | { status: 'succeeded'; outputs: string; runningTime: string }
  | { status: 'failed'; error: ServiceError }
  /** `aborted`: the provider's deadline passed before the job began. */
  | { status: 'canceled'; aborted: boolean }

export interface JobCall {
  target: ModelTarget
  /** Closes the connection; the job itself goes on. */
  signal: AbortSignal
  /** What is left for this request at most; each is further limited to 30 s. */
  remainingMs: number
}

/** A platform that takes a job and is polled: replicate, runpod. How often is decided by contracts/jobs.ts. */
export interface JobPlatform {
  readonly name: PlatformName
  readonly lane: Extract<Lane, 'job'>
  /**
   * One creation, with a provider-side deadline just beyond `remainingMs`. Whether a failed one may be repeated is
   * `createDelayMs`'s to say: some failures leave open whether a job exists.
   */
  createJob(request: CallRequest): Promise<CreatedJob>
  /** One poll. Throws `provider_result_expired` for a job the provider does not know; `isFinalPoll` sorts the rest. */
  pollJob(job: JobHandle, call: JobCall): Promise<JobState>
  /** One cancel. Resolves once the provider has heard it, also of a job that is over or unknown. */
  cancelJob(job: JobHandle, call: JobCall): Promise<void>
  /** Pieces of text of a job that was created; after the end, poll for its status. */
  streamJob(job: JobHandle, call: JobCall): AsyncIterable<StreamPiece>
  /** Why a job may wait: what the provider says about its queue and workers, in words. Absent = it says nothing. */
  diagnose?(call: JobCall): Promise<string>
  /** These platforms say nothing about a model: `""` as JSON text. */
  docs(target: ModelTarget, signal: AbortSignal): Promise<string>
  close(): Promise<void>
}

export type Platform = CallPlatform | JobPlatform

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
