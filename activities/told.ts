/** What the work on predictions tells of itself, for metrics and logs. Owns the events and what they are made of; counts nothing. */
import { codeOf } from '../contracts/errors.ts'
import type { PlatformName } from '../contracts/names.ts'
import type { TerminalStatus } from '../contracts/statuses.ts'
import type { StoredPrediction, Taken } from '../records/store.ts'
import type { Outcome } from './outcome.ts'

/** One finished platform call. */
export interface CallEvent {
  /** Of the prediction. */
  id: string
  model: string
  platform: PlatformName
  /** `ok` or an error code. */
  code: string
  runMs: number
  /** It is made again after this time. */
  retryInMs?: number
}

/** A prediction that this process has brought to its terminal status. Times since 1970. */
export interface EndEvent {
  id: string
  modelName: string
  platform: PlatformName
  status: TerminalStatus
  /** `ok` or an error code. */
  code: string
  /** Inherited text; empty if unknown. */
  runningTime: string
  createdAtMs: number
  startedAtMs: number
  endedAtMs: number
}

/** Who listens. */
export interface Told {
  onCall?(event: CallEvent): void
  onEnd?(event: EndEvent): void
  /** A platform has heard that a prediction was canceled: its connection is closed, or its provider was told. */
  onCancelHeard?(event: { id: string; platform: PlatformName }): void
  /** Predictions that an operator has canceled through their workflow. */
  onOperatorCancel?(predictions: number): void
  /** Predictions that their own deadline has ended. */
  onOverdue?(predictions: number): void
  /** A provider's status word that this version does not know; its job is polled on. */
  onUnknownWord?(event: { id: string; model: string; platform: PlatformName; word: string }): void
}

/** `ok` or an error code. */
export function codeOfOutcome(outcome: Outcome): string {
  if (outcome.kind === 'succeeded') return 'ok'
  if (outcome.kind === 'canceled') return outcome.aborted ? 'prediction_aborted' : 'prediction_canceled'
  return codeOf(outcome.error)
}

/** Undefined if it was ended by another hand while the call ran: whoever that was has told it. */
export function endOfCall(
  id: string,
  taken: Taken,
  status: TerminalStatus,
  outcome: Outcome,
): EndEvent | undefined {
  if (outcome.kind === 'retry' || status !== outcome.kind) return undefined
  const runningTime = outcome.kind === 'succeeded' ? outcome.runningTime : ''
  const { modelName, platform, createdAtMs, startedAtMs } = taken
  const code = codeOfOutcome(outcome)
  const times = { createdAtMs, startedAtMs, endedAtMs: Date.now() }
  return { id, modelName, platform, status, code, runningTime, ...times }
}

/** Of a prediction that failed without a call of this process: what there is to tell is in its record. */
export function endOfRecord(record: StoredPrediction | undefined, code: string): EndEvent | undefined {
  if (record === undefined || record.startedAt === null || record.endedAt === null) return undefined
  const { id, modelName, platform, runningTime } = record
  const times = {
    createdAtMs: Date.parse(record.createdAt),
    startedAtMs: Date.parse(record.startedAt),
    endedAtMs: Date.parse(record.endedAt),
  }
  return { id, modelName, platform, status: 'failed', code, runningTime, ...times }
}
