/** The tables as the query builder sees them, the same in both dialects. Times are milliseconds since 1970 in UTC. */
import type { Generated, Selectable } from 'kysely'
import type { Lane, PlatformName } from '../contracts/names.ts'
import type { PredictionStatus } from '../contracts/statuses.ts'
import type { DeliveryTables } from './deliveries.ts'
import type { ProcessRole, ProcessState } from './store.ts'
import type { TrackingTables } from './tracking.ts'
import type { ValidationTables } from './validations.ts'

export interface Tables extends TrackingTables, ValidationTables, DeliveryTables {
  predictions: PredictionTable
  prediction_inputs: { id: string; inputs: string }
  prediction_outputs: OutputTable
  flights: FlightTable
  idempotency_keys: { key: string; fingerprint: string; prediction_id: string; created_at: number }
  queues: { name: string; paused: number }
  processes: { id: string; role: ProcessRole; state: KnownState; beat: number; created_at: number }
  jobs: { id: string; creates: number; handle: string | null; cancel_due: number }
  /** `prediction_id` is empty for uploads without a token. */
  files: { name: string; prediction_id: string; created_at: number }
  outbox: OutboxTable
}

export interface OutboxTable {
  seq: Generated<number>
  prediction_id: string
  kind: string
  body: string
  created_at: number
  /** Whose it is to send while its lease lasts; empty = nobody's yet. */
  sender: Generated<string>
  leased_at: number | null
  leased_until: number | null
}

export interface OutputTable {
  id: string
  /** `null` text until known. */
  outputs: string
  /** What a run has given so far; null if nothing. */
  partial: string | null
  logs: Generated<string>
  /** When a webhook last told of `partial`. */
  output_told_at: Generated<number>
  logs_told_at: Generated<number>
}

export type KnownState = Exclude<ProcessState, 'unknown'>

export interface PredictionTable {
  /** Order of acceptance; cursors point at it. */
  seq: Generated<number>
  id: string
  model_name: string
  model_version: string
  status: PredictionStatus
  running_time: Generated<string>
  error_info: Generated<string>
  error_code: Generated<string>
  created_at: number
  /** Set by the first take and never again: the budget runs from here. */
  started_at: number | null
  ended_at: number | null
  queue: string
  queue_num: number
  queue_id: string
  uid: string
  platform: PlatformName
  /** Prefix of its flight; null for direct calls. */
  flight: string | null
  /** Calls begun. */
  attempts: Generated<number>
  /** Calls that ended in a transient failure. */
  failures: Generated<number>
  /** Names the current call; every take makes a new one. */
  token: Generated<number>
  /** The process that calls now. */
  holder: string | null
  /** From one to the other it waits for its next call. */
  released_at: number | null
  retry_at: number | null
  retry_code: Generated<string>
  run_ms: number | null
  /** JSON of a `WebhookOrder`; empty = none. */
  webhook: Generated<string>
  /** 1: its caller waits, and a paused queue does not hold it back. */
  sync: Generated<number>
  /** `traceparent` of the request; empty = none. */
  trace: Generated<string>
  /** The process of a direct call; empty for flights. */
  owner: Generated<string>
  /** `Cancel-After`: not ended by then, it is canceled. Null = never. */
  deadline_at: number | null
  /** The prediction whose input it repeats; empty = none. */
  retry_of: Generated<string>
}

export type PredictionRow = Selectable<PredictionTable>

export interface FlightTable {
  prefix: string
  /** The API process that admitted it, and must see it started. */
  process_id: string
  platform: PlatformName
  lane: Lane
  heartbeat_timeout_ms: number
  priority: number | null
  /** Tenant or `UID`; empty = none. */
  fairness_key: Generated<string>
  /** 1: the admitting process streams the text of its jobs. */
  streamed: Generated<number>
  /** 1 once Temporal has acknowledged its start. */
  started: number
}
