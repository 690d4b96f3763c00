/** What flights and guards exchange with their activities. Written into Temporal's history: a wire format. */
import type { Lane, PlatformName } from './names.ts'

export interface FlightInput {
  /** 1..200 prediction ids with one prefix. */
  ids: string[]
  lane: Lane
  platform: PlatformName
  /** The model of the flight, where all its predictions are for one. */
  model?: string
  /** Of the flying activity: 2 s, growing to 10 s with the model's observed run time. */
  heartbeatTimeoutMs: number
  /** Until the first of its predictions has to have ended; absent = none has a deadline of its own. */
  deadlineInMs?: number
  /** The API process that streams the text of all its jobs, and writes their successes while it lives. */
  streamer?: string
  /** What earlier runs of the flight have counted: it goes on with those that are still open. */
  totals?: FlightResult
}

export interface FlightResult {
  succeeded: number
  failed: number
  canceled: number
}

/** Why a prediction is not terminal yet; shown as the flight's current details. */
export type WaitReason = 'untaken' | 'retry' | 'paused' | 'canceling' | 'outbox'

/** Before the next look at a paused queue, which `/unpause` need not wait for: 5 s, growing to 10 min. */
export function pausedMs(looks: number): number {
  return Math.min(600_000, 5_000 * 1.5 ** looks)
}

export interface OpenPrediction {
  id: string
  why: WaitReason
  /** Until it is worth another look; 0 = at once. */
  waitMs: number
  /** The code that caused a retry. */
  code?: string
}

export interface FlyInput {
  ids: string[]
  lane: Lane
  model?: string
  /** As in `FlightInput`. */
  streamer?: string
}

/** What one round of `fly` achieved. Every id of the input is either counted once or open. */
export interface FlyReport extends FlightResult {
  open: OpenPrediction[]
}

export interface GuardInput {
  processId: string
  /** Task queue of flights; the guard's own is another one. */
  flightQueue: string
}

/** All that a start of a flight needs, whoever starts it: the store keeps it with the flight. */
export interface FlightStart {
  prefix: string
  platform: PlatformName
  lane: Lane
  heartbeatTimeoutMs: number
  /** Its members that are open, or owe a message or a cancel. */
  ids: string[]
  models: string[]
  /** 1 (first) to 5. */
  priority?: number | undefined
  /** Whose share of the queue it counts against: tenant or `UID`. */
  fairnessKey?: string | undefined
  /** As in `FlightInput`. */
  streamer?: string | undefined
  /** As in `FlightInput`. */
  deadlineInMs?: number | undefined
}

/** What the workflow is started with. */
export function flightInputOf(start: FlightStart): FlightInput {
  const { ids, lane, platform, heartbeatTimeoutMs, models, streamer, deadlineInMs } = start
  const input: FlightInput = { ids, lane, platform, heartbeatTimeoutMs }
  if (models.length === 1) input.model = models[0]!
  if (streamer !== undefined) input.streamer = streamer
  if (deadlineInMs !== undefined) input.deadlineInMs = deadlineInMs
  return input
}

/** What became of predictions with deadlines of their own. */
export interface OverdueReport {
  /** Until the next deadline of those still open; absent = none of them has one. */
  nextMs?: number
}

export interface SettleReport {
  /** Nothing was done: the process lives. */
  alive?: boolean
  /** Sync predictions that ended `failed`, because the process that called is gone. */
  interrupted: number
  /** Flights that it has admitted wait to be started. */
  unstarted?: boolean
  /** Outbox rows of the process's sync records that could not be sent yet. */
  outboxDue: number
}

/** The activities of the prediction queues. Their names and payloads are in recorded histories: only add. */
export interface FlightActivities {
  /** Runs predictions side by side and ends each record as its call ends. Heartbeats. */
  fly(input: FlyInput): Promise<FlyReport>
  /** `canceled` in the store for every id that is still open. */
  cancelOpen(ids: string[]): Promise<void>
  /** Ends those whose own deadline has passed, whoever holds them. */
  endOverdue(ids: string[]): Promise<OverdueReport>
}

export interface GuardActivities {
  /** Row `new → open`; false if the process is dead or was never registered. */
  openProcess(processId: string): Promise<boolean>
  /** Returns when the process is gone (dead) or has closed after draining. Heartbeats. */
  watchProcess(processId: string): Promise<void>
  /** Ends the sync records of a dead process and wakes the flights whose calls it held. */
  settleProcess(processId: string): Promise<SettleReport>
  /** Starts the flights that nobody has confirmed as started; `refused`: Temporal takes no start of so many. Heartbeats. */
  startUnstarted(processId: string): Promise<{ refused: number }>
}

export interface RetentionActivities {
  /** How many records were deleted. Heartbeats. */
  expireRecords(): Promise<number>
}

export interface WakeActivities {
  /** Signals those flights of a page that wait in the queue. `next` is where the next page begins; absent = no more. Heartbeats. */
  wakeWaiting(queue: string, after: number): Promise<{ next?: number }>
}

/** Search attributes of a flight (design, section 5). */
export const searchAttributes = {
  modelName: 'ModelName',
  platform: 'Platform',
  taskStatus: 'TaskStatus',
  flightSize: 'FlightSize',
} as const
