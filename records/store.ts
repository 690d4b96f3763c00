/** The store's interface: the arbiter of every record's status. Owns types only; sqlite.ts and postgres.ts implement it. */
import { setTimeout as delay } from 'node:timers/promises'
import { codeOf } from '../contracts/errors.ts'
import type { UnstartedFlight } from '../contracts/flights.ts'
import type { Lane, PlatformName } from '../contracts/names.ts'
import type { PredictionStatus, TerminalStatus } from '../contracts/statuses.ts'
import type { DeliveryStore, WebhookOrder } from './deliveries.ts'
import type { TrackingStore } from './tracking.ts'
import type { ValidationStore } from './validations.ts'

export {
  type DeliveryStore,
  type StoredDelivery,
  type WebhookEvent,
  type WebhookOrder,
  webhookEvents,
} from './deliveries.ts'
export type {
  AttemptPatch,
  StoredAttempt,
  StoredBlessing,
  StoredValidation,
  ValidationStore,
} from './validations.ts'

/** JSON as text, numbers digit for digit. The store never parses it. */
export type JsonText = string

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

export type ProcessState = 'unknown' | 'new' | 'open' | 'closing' | 'dead'
export type ProcessRole = 'api' | 'worker'

/** Everything the store knows of a prediction, the payloads as text. Times are RFC 3339 in UTC. */
export interface StoredPrediction {
  /** Ascends in the order of acceptance. */
  seq: number
  id: string
  modelName: string
  modelVersion: string
  status: PredictionStatus
  runningTime: string
  errorInfo: string
  errorCode: string
  createdAt: string
  startedAt: string | null
  endedAt: string | null
  /** `null` text until known. */
  outputs: JsonText
  queueNum: number
  queueId: string
  uid: string
  platform: PlatformName
  attempts: number
  /** What the run has given so far; `null` text if nothing. Kept as it was when the prediction ends. */
  partial: JsonText
  logs: string
  /** Null = it has none of its own. */
  deadlineAt: string | null
  retryOf: string
  webhook?: WebhookOrder
}

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

export interface ListFilter {
  queue?: string
  modelName?: string
  status?: PredictionStatus
  /** Ended by its deadline before it began; false: not so. */
  aborted?: boolean
  /** Milliseconds since 1970: accepted then or later. */
  createdFrom?: number
  /** Accepted earlier. */
  createdBefore?: number
  /** Newest first; opaque, from another page. */
  cursor?: string
  /** 1..1000. */
  limit: number
}

export interface Page {
  items: StoredPrediction[]
  /** Of what was accepted earlier. */
  nextCursor?: string
  /** Of what was accepted later: only where the page was asked for by a cursor. */
  previousCursor?: string
}

/** A job at a provider, from before its creation was sent. */
export interface StoredJob {
  /** Creations begun and not refused: while there is no handle, this many may have made a job. */
  creates: number
  /** What finds it again; null while no answer to a creation has been stored. */
  handle: JsonText | null
}

/** A provider has still to hear that a prediction is over. */
export interface CancelDue {
  id: string
  modelName: string
  /** Null: the creation had begun, and whether a job exists is not known (yet). */
  handle: JsonText | null
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

export interface QueueCounts {
  /** Accepted and not yet taken by any worker. */
  waiting: number
  running: number
}

/** How much is left to do, for metrics. Times are milliseconds since 1970, the store's clock; absent = nothing is left. */
export interface StoreFigures extends QueueCounts {
  oldestWaitingAt: number | undefined
  /** Open predictions whose job at a provider is known. */
  providerJobs: number
  /** Jobs whose provider has still to hear that their prediction is over. */
  providerCancelsDue: number
  /** Unsent rows, 100,000 at most. */
  outbox: number
  oldestOutboxAt: number | undefined
  /** Webhooks that have not been delivered or given up. */
  deliveriesWaiting: number
  validationsOpen: number
}

/** One change that must reach somebody outside, in order per prediction. */
export interface OutboxRow {
  seq: number
  predictionId: string
  /** `mirror`: a call for the external record service; `webhook`: the id of a delivery. */
  kind: string
  body: JsonText
  /** Milliseconds since 1970, the store's clock. */
  createdAt: number
}

/** See `leftOpen`. */
export interface LeftOpen {
  /** With open members, messages unsent or cancels that providers have still to hear. */
  flights: UnstartedFlight[]
  /** API processes that need a guard: not known to be dead, holding direct calls, or owing messages. */
  processes: string[]
  /** Ids of webhook events on their way. */
  deliveries: string[]
}

/**
 * All methods are atomic; what is asked in one turn of the event loop is one transaction. Every method may throw
 * `ServiceError('store_unavailable')` after `deadlineMs` (option of the store): then nothing was written, except on
 * a lost connection, where repeating the same call is safe.
 */
export interface Store {
  /** Registers this process (row `new`) and starts proving that it lives. At most once per store object. */
  registerProcess(processId: string, role: ProcessRole): Promise<void>
  /** `new → open`. False unless the row is now `open`. */
  openProcess(processId: string): Promise<boolean>
  /** `open → closing`: `admit` and `begin` refuse from now on. */
  closeProcess(processId: string): Promise<void>
  /** One observation of another process; decides death by compare-and-set where it can be decided. */
  observeProcess(processId: string): Promise<ProcessState>
  /** The last act of an orderly exit: the row is `dead`, the proof of life ends. */
  leaveProcess(processId: string): Promise<void>

  admit(admission: Admission): Promise<Admitted>
  /** A direct call begins: the record is `running`, held by the process. Idempotent by id. */
  begin(prediction: NewSyncPrediction, processId: string): Promise<Begun>
  /**
   * `again`: the caller is the holder and knows of no call of its own (a lost answer). Throws
   * `ServiceError('draining')` if `processId` is not registered or has been declared dead: it must not begin work.
   */
  take(id: string, processId: string, limits: TakeLimits, again?: boolean): Promise<Taken | NotTaken>
  /** A call ended without a terminal status; counts one transient failure. False if the token is not current. */
  release(id: string, token: number, retryInMs: number, code: string): Promise<boolean>
  /** Success needs no current token, failure does. Writes outbox rows in the same transaction. */
  transition(
    id: string,
    to: TerminalStatus,
    fields: TransitionFields,
    token?: number,
  ): Promise<TransitionResult>
  /** `failed` ("task queue failed") where still `pending`; frees their idempotency keys. Returns the ids NOT discarded because they are already in work or terminal. */
  discard(ids: readonly string[]): Promise<string[]>
  cancel(id: string): Promise<CancelResult>
  /** Those of `ids` past their own deadline end: `canceled`, or aborted if they had not begun. */
  endOverdue(ids: readonly string[]): Promise<Overdue>
  /** Notes what a run has given so far. True if its caller is to be told: the outbox has a message. */
  progress(id: string, token: number, progress: Progress): Promise<boolean>
  /** Every `pending` record of the queue becomes `canceled`; optionally of one model only. */
  deletePending(queue: string, modelName?: string): Promise<{ deleted: number; pending: number }>

  /** False if it already was. */
  pause(queue: string): Promise<boolean>
  unpause(queue: string): Promise<boolean>
  /** Prefixes of flights with `pending` records of the queue, at most `limit`: to be woken after unpause. */
  waitingFlights(queue: string, limit: number): Promise<string[]>

  get(id: string): Promise<StoredPrediction | undefined>
  /** What the prediction was asked with. */
  inputsOf(id: string): Promise<JsonText | undefined>
  list(filter: ListFilter): Promise<Page>
  count(queue: string): Promise<QueueCounts>
  figures(queue: string): Promise<StoreFigures>
  /** Those of `ids` that are terminal, with their status. Cheap: callers poll it. */
  terminalAmong(ids: readonly string[]): Promise<Map<string, TerminalStatus>>
  /** Mean run time of the model's latest successes in milliseconds, undefined if unknown. */
  meanRunMs(modelName: string): Promise<number | undefined>

  /** Ends the sync records of a `dead` process as `failed` with `errorInfo`; the flights that may lack a start. */
  settle(processId: string, errorInfo: string): Promise<{ interrupted: number; flights: UnstartedFlight[] }>
  markStarted(prefixes: readonly string[]): Promise<void>

  /** A creation at the provider is about to be sent. False if the token is not the current one. */
  beginJob(id: string, token: number): Promise<boolean>
  /** The provider certainly made no job: the creation was not sent or was refused. */
  jobRefused(id: string): Promise<void>
  /** The creation was answered; stored before anything else is done with it. */
  jobCreated(id: string, handle: JsonText): Promise<void>
  jobOf(id: string): Promise<StoredJob | undefined>
  /** Those of `ids` whose cancel the provider has still to hear. */
  cancelsDue(ids: readonly string[]): Promise<CancelDue[]>
  cancelHeard(id: string): Promise<void>

  /** Oldest unsent row of each of these predictions and each kind. */
  outboxNext(predictionIds: readonly string[]): Promise<OutboxRow[]>
  outboxDone(seq: number): Promise<void>
  /** Ended predictions with unsent rows that no flight will send: a direct call's, or a discarded one's. */
  outboxOwedBy(processId: string, limit: number): Promise<string[]>

  readonly deliveries: DeliveryStore

  /** Idempotent by id: `exists` leaves the record as it is; `conflict`: the id belongs to another model's record. */
  createTask(task: NewTask): Promise<'created' | 'exists' | 'conflict'>
  /** Rule 3 for callers without a token: what the record's status does not allow is ignored. The record after it. */
  updateTask(id: string, change: TaskChange): Promise<StoredPrediction | undefined>

  /** Everything that needs a workflow of ours, whether it has one or not. Reads whole tables: for recovery only. */
  leftOpen(): Promise<LeftOpen>

  /** Written before the bytes, so that no bytes are without a row. `predictionId` may be empty. */
  addFile(name: string, predictionId: string): Promise<void>
  /** Names of files that are older and whose prediction is gone; at most `limit`. */
  oldFiles(createdBefore: Date, limit: number): Promise<string[]>
  forgetFiles(names: readonly string[]): Promise<void>

  readonly validations: ValidationStore
  readonly tracking: TrackingStore

  /** Deletes terminal records with nothing due that ended before, and older tracking records; returns how many of the first. */
  expire(endedBefore: Date): Promise<number>
  ping(): Promise<void>
  close(): Promise<void>
}

/** Sends what the outbox holds about a prediction, oldest first, one row of each kind at a time. */
export interface OutboxSender {
  /** Every record has rows to be sent, its creation first. */
  readonly mirrors: boolean
  /** Undefined once nothing is left. Never throws; calls for one prediction run one after the other. */
  drain(predictionId: string): Promise<OutboxLeft | undefined>
}

export interface OutboxLeft {
  /** Until it is worth another try. */
  waitMs: number
  /** The external record service does not know the record yet: work must not begin. */
  unknown: boolean
  /** It never will: it refused the creation for good. Nothing of this record is left to be sent there. */
  refused: boolean
}

/** The calls that run in this process: who cancels them, and who may join them. */
export interface HeldCalls {
  /** Registers a call. `signal` fires soon after the record became terminal by another hand (a cancel). */
  hold(id: string): HeldCall
  /** Resolves when the call of this process for that id is done; undefined if there is none. */
  joined(id: string): Promise<void> | undefined
  /** Ids held now. */
  ids(): string[]
  close(): void
}

export interface HeldCall {
  signal: AbortSignal
  /** The call has ended and its record is written. Must be called exactly once, in a `finally`. */
  done(): void
}

/** Waits for records to become terminal; all waiters of one process share one poll. */
export interface TerminalWaiter {
  /** The terminal status, or undefined once `timeoutMs` have passed or `signal` fired. Never throws. */
  waitFor(id: string, timeoutMs: number, signal?: AbortSignal): Promise<TerminalStatus | undefined>
  close(): void
}

const firstPauseMs = 100
const longestPauseMs = 2_000

/**
 * Repeats a write until the store has taken it: a result in hand is never thrown away because the store is away.
 * Any other error passes.
 */
export async function untilStored<T>(write: () => Promise<T>): Promise<T> {
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(longestPauseMs, pauseMs * 2)) {
    try {
      return await write()
    } catch (error) {
      if (codeOf(error) !== 'store_unavailable') throw error
    }
    await delay(pauseMs)
  }
}
