/** What a failed activity of a validation means: its class and its text. Decides nothing about attempts. */
import { ActivityFailure, TimeoutFailure } from '@temporalio/workflow'
import { codeOf } from '../contracts/errors.ts'
import { type FailureClass, failureClassOf } from '../contracts/validation-verdict.ts'

/** `otherwise`: the class of what carries none. A host or a worker that does not answer is a platform that is away. */
export function classOf(error: unknown, otherwise: FailureClass): FailureClass {
  if (timeoutOf(error) !== undefined) return 'PLATFORM_UNAVAILABLE'
  const code = codeOf(error)
  if (code === 'store_unavailable' || code === 'temporal_unavailable') return 'PLATFORM_UNAVAILABLE'
  return code === 'internal' ? otherwise : failureClassOf(error)
}

export function messageOf(error: unknown): string {
  const timeout = timeoutOf(error)
  if (timeout?.timeoutType === 'SCHEDULE_TO_START') return 'no worker of the host takes work'
  if (timeout !== undefined) return 'the worker of this step does not answer'
  let inner = error
  while (inner instanceof ActivityFailure && inner.cause !== undefined) inner = inner.cause
  return inner instanceof Error ? inner.message : String(inner)
}

function timeoutOf(error: unknown): TimeoutFailure | undefined {
  for (let at = error, depth = 0; at instanceof Error && depth < 8; at = at.cause, depth++) {
    if (at instanceof TimeoutFailure) return at
  }
  return undefined
}
