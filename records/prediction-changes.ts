/** What the store is told of a prediction and what it answers: admission, take, end, progress. Types only. */
import type { FlightStart } from '../contracts/flights.ts'
import type { Lane, PlatformName } from '../contracts/names.ts'
import type { PredictionStatus, TerminalStatus } from '../contracts/statuses.ts'
import type { WebhookOrder } from './deliveries.ts'
import type { JsonText, ProcessState } from './store.ts'

export interface NewPrediction {
  id: string
  modelName: string
  modelVersion: string
  inputs: JsonText
  /** Header `UID`; empty if absent. */
  uid: string
  idempotency?: IdempotencyKey
  /** Its caller waits for it: a paused queue does not hold it back. */
  sync?: boolean
  /** Whom to tell of its events. */
  webhook?: WebhookOrder
  /** `traceparent` of the request that asked for it. */
  trace?: string
  /** From its acceptance on; not ended by then, it is canceled. */
  cancelAfterMs?: number
  /** The prediction whose input it repeats. */
  retryOf?: string
}

export interface IdempotencyKey {
  /** The caller's key, scoped by tenant. */
  key: string
  /** Hash of the request: the same key with another one is a mismatch. */
  fingerprint: string
}

export interface NewFlight {
  /** First 18 characters of all its ids; unique in the store. */
  prefix: string
  platform: PlatformName
  lane: Lane
  heartbeatTimeoutMs: number
  /** 1 (first) to 5. */
  priority?: number | undefined
  /** Whose share of the queue it counts against; empty or absent = nobody's. */
  fairnessKey?: string | undefined
  /** The admitting process streams the text of its jobs. */
  streamed?: boolean | undefined
}

export interface Admission {
  processId: string
  /** `TASK_TYPE_NAME`: queues count, pause and fill separately. */
  queue: string
  /** Most waiting predictions in the queue, exact. */
  maxQueueSize: number
  flight: NewFlight
  items: readonly NewPrediction[]
  /** Flights whose start Temporal has acknowledged since the last call: the guard need not start them. */
  started?: readonly string[]
}

export type ItemAdmitted =
  | { outcome: 'accepted'; queueNum: number }
  | { outcome: 'full' }
  /** The key was used before with the same request: that prediction stands for this one. */
  | { outcome: 'earlier'; id: string }
  /** The key was used before with another request. */
  | { outcome: 'mismatch' }

export type Admitted =
  | { outcome: 'admitted'; items: ItemAdmitted[] }
  /** Another flight has this prefix: take new ids. Nothing was written. */
  | { outcome: 'collision' }
  /** Nothing was written. `dead`: this process must exit. */
  | { outcome: 'process_not_open'; state: ProcessState }

export interface NewSyncPrediction extends NewPrediction {
  queue: string
  platform: PlatformName
}

export type Begun =
  | { outcome: 'begun'; token: number }
  /** As in `ItemAdmitted`. */
  | { outcome: 'earlier'; id: string }
  | { outcome: 'mismatch' }
  | { outcome: 'process_not_open'; state: ProcessState }

export interface TakeLimits {
  /** Whole budget from the first take, in milliseconds of the store's clock. */
  taskTimeoutMs: number
  maxAttempts: number
}

export interface Taken {
  outcome: 'taken'
  /** Identifies this call; needed to write a failure or to release. */
  token: number
  /** Transient failures so far. */
  failures: number
  /** What is left of the budget, or a little longer than to the prediction's own deadline. */
  remainingMs: number
  /** Since it was first taken. */
  spentMs: number
  /** When it was accepted and first taken, in milliseconds of the store's clock since 1970. */
  createdAtMs: number
  startedAtMs: number
  platform: PlatformName
  modelName: string
  modelVersion: string
  inputs: JsonText
  /** `traceparent` of the request that asked for it. */
  trace?: string
  /** Its caller ordered webhooks: the outbox may hold some. */
  owes?: true
}

export type NotTaken =
  | { outcome: 'unknown' }
  | { outcome: 'terminal'; status: TerminalStatus; owes?: true }
  | { outcome: 'paused' }
  /** Released with a retry time that has not come. */
  | { outcome: 'waiting'; retryInMs: number; code: string }
  /** In the hands of `holder`, which is not known to be dead. `remainingMs`: until a take answers `timed_out`. */
  | { outcome: 'held'; holder: string; remainingMs: number }
  /** Its own deadline has passed: `endOverdue` ends it. */
  | { outcome: 'overdue' }
  /** Out of budget (while another live process holds it: 2 s later) or of attempts: write `failed` with this token. */
  | { outcome: 'timed_out'; token: number }
  | { outcome: 'exhausted'; token: number }

export interface TransitionFields {
  outputs?: JsonText
  errorInfo?: string
  errorCode?: string
  /** Inherited text, e.g. `1.250000s`. */
  runningTime?: string
  /** Measured time of the platform call, for the size of later flights. */
  runMs?: number
  /** The prediction is over and its job at the provider may not be: a cancel is due. */
  cancelJob?: boolean
}

export interface TransitionResult {
  /** False if the record was terminal already, unknown, or the token was not the current one. */
  changed: boolean
  status: PredictionStatus | 'unknown'
}

export type CancelResult =
  | { outcome: 'canceled' | 'already_canceled' | 'unknown' }
  | { outcome: 'terminal'; status: TerminalStatus }

/** What a run in progress shows; absent = nothing new. */
export interface Progress {
  /** All output so far. */
  output?: JsonText
  /** All logs so far. */
  logs?: string
}

export interface Overdue {
  /** Ended by this call. */
  ended: string[]
  /** Until the next deadline of the others; absent = none of them has one. */
  nextMs?: number
}

/** A record whose work is done elsewhere: made through the record service, in no queue of ours. */
export interface NewTask {
  id: string
  modelName: string
  modelVersion: string
  uid: string
  status: 'pending' | 'running'
  queueNum: number
}

/** What the record service may change; absent = unchanged. */
export interface TaskChange {
  status?: PredictionStatus
  runningTime?: string
  outputs?: JsonText
  errorInfo?: string
  /** Filled in only where it is empty, also on terminal records. */
  queueId?: string
}

export interface Settled {
  /** Nothing was done: the process is not dead. */
  isAlive: boolean
  /** Sync predictions that ended `failed`. */
  interrupted: number
}

export interface UnstartedPage {
  flights: FlightStart[]
  /** No others come after these. */
  isLast: boolean
}
