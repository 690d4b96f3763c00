/** What may be set for a model's scheduling, and what goes over it. Checks options; enforces nothing. */

import { ValueError } from '../errors.ts'

/**
 * What the scheduler needs of a request's context. `signal` may be a lazy getter: it is touched only by requests
 * that wait or have a time limit.
 */
export interface Call {
  readonly signal: AbortSignal
  /** Aborts `signal` with this reason. */
  abort(reason: unknown): void
}

/** Limits of one model. Left out = off, except `maxQueueSize` = 100, which counts once something makes requests wait. */
export interface QueueLimits {
  /** Requests (or batches) that run at the same time. */
  maxConcurrency?: number
  /** Requests that may wait for their turn or for a batch to leave. 0 = none waits. */
  maxQueueSize?: number
  queueTimeoutMs?: number
  /** Longest predict, explain or generate. The request's slot is free again at that moment. */
  timeoutMs?: number
}

/** Label `reason` of `model_rejected_total`. */
export type RejectReason = 'queue_full' | 'queue_timeout' | 'draining' | 'unloading' | 'timeout'

/** Throws `ValueError` for limits that are not integers in their range. */
export function checkLimits(limits: QueueLimits): void {
  const least: Record<keyof QueueLimits, number> = {
    maxConcurrency: 1,
    maxQueueSize: 0,
    queueTimeoutMs: 1,
    timeoutMs: 1,
  }
  for (const [name, from] of Object.entries(least)) {
    const value = limits[name as keyof QueueLimits]
    if (value !== undefined && (!Number.isInteger(value) || value < from)) {
      throw new ValueError(`${name} must be an integer of at least ${from}, got ${value}`)
    }
  }
}

export interface BatchingOptions {
  /** Most rows of a batch; batching is on above 1. A larger single request runs alone. */
  maxSize: number
  /** Longest wait of a batch's oldest request. */
  maxDelayMs?: number
  /** Batches that run at the same time. */
  maxConcurrent?: number
  /** The wait shrinks with how full recent batches were: an idle model answers at once. */
  adaptive?: boolean
}

/** Throws `ValueError` for options out of range. */
export function checkBatching({ maxSize, maxDelayMs = 0, maxConcurrent = 1 }: BatchingOptions): void {
  if (!Number.isInteger(maxSize) || maxSize < 1) {
    throw new ValueError(`batching.maxSize must be an integer of at least 1, got ${maxSize}`)
  }
  if (!Number.isFinite(maxDelayMs) || maxDelayMs < 0) {
    throw new ValueError(`batching.maxDelayMs must be 0 or more, got ${maxDelayMs}`)
  }
  if (!Number.isInteger(maxConcurrent) || maxConcurrent < 1) {
    throw new ValueError(`batching.maxConcurrent must be an integer of at least 1, got ${maxConcurrent}`)
  }
}
