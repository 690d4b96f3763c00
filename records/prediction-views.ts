/** What the store shows: records, pages of them, jobs at providers, figures, messages on their way. Types only. */
import type { PlatformName } from '../contracts/names.ts'
import type { OwnedKind } from '../contracts/ownership.ts'
import type { PredictionStatus } from '../contracts/statuses.ts'
import type { WebhookOrder } from './deliveries.ts'
import type { JsonText } from './store.ts'

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

export interface ListFilter {
  queue?: string
  modelName?: string
  status?: PredictionStatus
  /** Of what failed or was canceled. */
  errorCode?: string
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

/** An open prediction in the hands of a process. */
export interface HeldRow {
  id: string
  /** Of the call that took it. */
  token: number
  /** No flight goes on with it: its process called by itself. */
  isDirect: boolean
}

export interface QueueCounts {
  /** Accepted and not yet taken by any worker. */
  waiting: number
  running: number
}

/** A page of flights. `next` is where the page behind it begins, undefined behind the last. */
export interface WaitingFlights {
  prefixes: string[]
  next: number | undefined
}

export interface DeletedPending {
  deleted: number
  /** How many waited. */
  pending: number
  /** Those of what was deleted: they may go on to end. */
  flights: string[]
}

/** How much is left to do, for metrics. Times are milliseconds since 1970, the store's clock; absent = nothing is left. */
export interface StoreFigures extends QueueCounts {
  overdue: number
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

/** `gone`: it has been sent. `held`: another sender has it, for so long at most. */
export type OutboxLease = { outcome: 'leased' } | { outcome: 'gone' } | { outcome: 'held'; leftMs: number }

/** Which of what is left open; at most 500 of it. */
export interface LeftOpenPage {
  kind: OwnedKind
  /** `TASK_TYPE_NAME`: a database may serve several deployments. */
  queue: string
  /** Younger ones are left out, by the store's clock. */
  minAgeMs: number
  /** The last id of the page before. */
  after?: string
}
