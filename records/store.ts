/**
 * The store's interface, the arbiter of every record's status, and the one door of other rooms to what it speaks of. Owns
 * types only; sqlite.ts and postgres.ts implement it.
 */
import type { FlightStart } from '../contracts/flights.ts'
import type { LeftOpen } from '../contracts/ownership.ts'
import type { PredictionStatus, TerminalStatus } from '../contracts/statuses.ts'
import type { DeliveryStore } from './deliveries.ts'
import type {
  Admission,
  Admitted,
  Begun,
  CancelResult,
  NewSyncPrediction,
  NewTask,
  NotTaken,
  Overdue,
  Progress,
  Settled,
  TakeLimits,
  Taken,
  TaskChange,
  TransitionFields,
  TransitionResult,
  UnstartedPage,
} from './prediction-changes.ts'
import type {
  CancelDue,
  DeletedPending,
  HeldRow,
  LeftOpenPage,
  ListFilter,
  OutboxLease,
  OutboxRow,
  Page,
  QueueCounts,
  StoredJob,
  StoredPrediction,
  StoreFigures,
  WaitingFlights,
} from './prediction-views.ts'
import type { TrackingStore } from './tracking.ts'
import type { ValidationStore } from './validations.ts'

export {
  type DeliveryStore,
  type StoredDelivery,
  type WebhookEvent,
  type WebhookOrder,
  webhookEvents,
} from './deliveries.ts'
export { isInDoubt } from './in-doubt.ts'
export type {
  Admission,
  Admitted,
  Begun,
  CancelResult,
  IdempotencyKey,
  ItemAdmitted,
  NewFlight,
  NewPrediction,
  NewSyncPrediction,
  NewTask,
  NotTaken,
  Overdue,
  Progress,
  Settled,
  TakeLimits,
  Taken,
  TaskChange,
  TransitionFields,
  TransitionResult,
  UnstartedPage,
} from './prediction-changes.ts'
export type {
  CancelDue,
  DeletedPending,
  HeldRow,
  LeftOpenPage,
  ListFilter,
  OutboxLease,
  OutboxRow,
  Page,
  QueueCounts,
  StoredJob,
  StoredPrediction,
  StoreFigures,
  WaitingFlights,
} from './prediction-views.ts'
export {
  type HeldCall,
  type HeldCalls,
  type OutboxLeft,
  type OutboxSender,
  type TerminalWaiter,
  untilStored,
} from './process-calls.ts'
export type {
  AttemptPatch,
  StoredAttempt,
  StoredBlessing,
  StoredValidation,
  ValidationStore,
} from './validations.ts'

/** JSON as text, numbers digit for digit. The store never parses it. */
export type JsonText = string

export type ProcessState = 'unknown' | 'new' | 'open' | 'closing' | 'dead'
export type ProcessRole = 'api' | 'worker'

/**
 * All methods are atomic; what is asked in one turn of the event loop is one transaction. Every method may throw
 * `ServiceError('store_unavailable')` after `deadlineMs` (option of the store): then nothing was written, unless the
 * error `isInDoubt`: on PostgreSQL it may still take effect, and whoever asked resolves it. Repeating a call is safe.
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

  /**
   * Idempotent by ids: those that are there are answered whatever the state of the process. An error that `isInDoubt`
   * says that the caller does not know: `settleDoubt` finds out.
   */
  admit(admission: Admission): Promise<Admitted>
  /**
   * After an `admit` of the queue whose outcome is unknown: waits for its end. What it has written for `ids` and nobody
   * has taken ends `failed` ("task queue failed"), but for what has an idempotency key: its caller will ask again.
   */
  settleDoubt(queue: string, ids: readonly string[]): Promise<void>
  /** A direct call begins: the record is `running`, held by the process. Idempotent by id. May be in doubt as `admit`. */
  begin(prediction: NewSyncPrediction, processId: string): Promise<Begun>
  /** After a `begin` whose outcome is unknown: waits for its end. What it has written ends `failed`, its key is free. */
  abandonBegun(processId: string, ids: readonly string[]): Promise<void>
  /**
   * `again`: the caller is the holder and knows of no call of its own (a lost answer). Throws
   * `ServiceError('draining')` if `processId` is not registered or has been declared dead: it must not begin work.
   */
  take(id: string, processId: string, limits: TakeLimits, again?: boolean): Promise<Taken | NotTaken>
  /** Everything that a process holds. */
  heldBy(processId: string): Promise<HeldRow[]>
  /** Those of `ids` that nobody holds, terminal or free, with their status. Cheap: callers poll it. */
  notHeld(ids: readonly string[]): Promise<Map<string, PredictionStatus>>
  /**
   * The database has lost the take of a call that goes on: written once more, under the same token. False if it was not
   * lost, or others have taken it since.
   */
  holdAgain(id: string, processId: string, token: number): Promise<boolean>
  /** The process makes no such call: others may take the prediction. Counts neither an attempt nor a failure. */
  letGo(id: string, processId: string, token: number): Promise<void>
  /** A call ended without a terminal status; counts one transient failure. False if the token is not current. */
  release(id: string, token: number, retryInMs: number, code: string): Promise<boolean>
  /** Success needs no current token, failure does. Writes outbox rows in the same transaction. */
  transition(
    id: string,
    to: TerminalStatus,
    fields: TransitionFields,
    token?: number,
  ): Promise<TransitionResult>
  cancel(id: string): Promise<CancelResult>
  /** Those of `ids` past their own deadline end: `canceled`, or aborted if they had not begun. */
  endOverdue(ids: readonly string[]): Promise<Overdue>
  /** Notes what a run has given so far. True if its caller is to be told: the outbox has a message. */
  progress(id: string, token: number, progress: Progress): Promise<boolean>
  /** Every `pending` record of the queue becomes `canceled`; optionally of one model only. */
  deletePending(queue: string, modelName?: string): Promise<DeletedPending>

  /** False if it already was. */
  pause(queue: string): Promise<boolean>
  unpause(queue: string): Promise<boolean>
  /** Flights with `pending` records of the queue, longest waiting first: to be woken after unpause. `after` is 0, then `next`. */
  waitingFlights(queue: string, after: number, limit: number): Promise<WaitingFlights>

  get(id: string): Promise<StoredPrediction | undefined>
  /** What the prediction was asked with. */
  inputsOf(id: string): Promise<JsonText | undefined>
  list(filter: ListFilter): Promise<Page>
  count(queue: string): Promise<QueueCounts>
  /** Of what has been running for longer than `overdueAfterMs`, by the store's clock, it says how many. */
  figures(queue: string, overdueAfterMs: number): Promise<StoreFigures>
  /** Those of `ids` that are terminal, with their status. Cheap: callers poll it. */
  terminalAmong(ids: readonly string[]): Promise<Map<string, TerminalStatus>>
  /** Mean run time of the model's latest successes in milliseconds, undefined if unknown. */
  meanRunMs(modelName: string): Promise<number | undefined>

  /** Ends the sync records of a `dead` process as `failed` with `errorInfo`. */
  settle(processId: string, errorInfo: string): Promise<Settled>
  /**
   * Flights that the process has admitted, not marked started, with a member that is open or owes a message or a
   * cancel; those whose prefix comes after. Ends members past their own deadlines.
   */
  unstarted(processId: string, after: string): Promise<UnstartedPage>
  /** Temporal has acknowledged their starts. */
  markStarted(prefixes: readonly string[]): Promise<void>
  /** Prefixes of flights with a prediction in the hands of this process. */
  flightsHeldBy(processId: string): Promise<string[]>

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
  /** The row is this sender's alone for so long; its own lease is begun anew. 0 gives it back. */
  outboxLease(seq: number, sender: string, forMs: number): Promise<OutboxLease>
  outboxDone(seq: number): Promise<void>
  /** Ended predictions with unsent rows that no flight will send: direct calls of this process. */
  outboxOwedBy(processId: string, limit: number): Promise<string[]>

  readonly deliveries: DeliveryStore

  /** Idempotent by id: `exists` leaves the record as it is; `conflict`: the id belongs to another model's record. */
  createTask(task: NewTask): Promise<'created' | 'exists' | 'conflict'>
  /** Rule 3 for callers without a token: what the record's status does not allow is ignored. The record after it. */
  updateTask(id: string, change: TaskChange): Promise<StoredPrediction | undefined>

  /** One page, by id, of what needs a workflow of ours, whether it has one or not: open, or owing a message or a cancel. */
  leftOpen(page: LeftOpenPage): Promise<LeftOpen[]>
  /** What those flights are to be started with that have such members. */
  flightStarts(prefixes: readonly string[]): Promise<FlightStart[]>

  /** Written before the bytes, so that no bytes are without a row. `predictionId` may be empty. */
  addFile(name: string, predictionId: string): Promise<void>
  /** Names of files that are older, by the store's clock, and whose prediction is gone; at most `limit`. */
  oldFiles(retentionMs: number, limit: number): Promise<string[]>
  forgetFiles(names: readonly string[]): Promise<void>

  readonly validations: ValidationStore
  readonly tracking: TrackingStore

  /**
   * Deletes terminal records with nothing due that ended longer ago, by the store's clock, and older tracking records;
   * returns how many of the first.
   */
  expire(retentionMs: number): Promise<number>
  ping(): Promise<void>
  close(): Promise<void>
}
