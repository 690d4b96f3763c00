/** Why the service did not accept a prediction: the errors of admission, for flights and direct calls alike. */
import { ServiceError } from '../contracts/errors.ts'
import type { ProcessState } from '../records/store.ts'

const comeBackMs = 1_000

export function queueFull(): ServiceError {
  return new ServiceError('queue_full', 'the prediction task queue is full, please wait for a while', {
    retryAfterMs: comeBackMs,
  })
}

export function mismatch(): ServiceError {
  return new ServiceError('idempotency_mismatch', 'this Idempotency-Key was used with another request')
}

/** The start's outcome was unknown to the deadline, and the record has been discarded. */
export function notStarted(): ServiceError {
  return new ServiceError('temporal_unavailable', 'task queue failed', { retryAfterMs: comeBackMs })
}

/** The guard has not opened this process yet, or the process is on its way out. */
export function notOpen(state: ProcessState): ServiceError {
  return state === 'closing' || state === 'dead'
    ? new ServiceError('draining', 'the service is shutting down', { retryAfterMs: comeBackMs })
    : new ServiceError('temporal_unavailable', 'the service is not ready to accept predictions yet', {
        retryAfterMs: comeBackMs,
      })
}
