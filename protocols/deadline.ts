/** Deadlines on the monotonic clock: setting the wall clock back lengthens nothing. Never crosses a process boundary. */
import { setTimeout as sleep } from 'node:timers/promises'

export interface Deadline {
  /** Milliseconds left, never below 0. */
  leftMs(): number
  readonly passed: boolean
}

/** A deadline `ms` from now. Between machines the remaining milliseconds travel, never a time of day. */
export function deadlineIn(ms: number): Deadline {
  const end = performance.now() + ms
  return {
    leftMs: () => Math.max(0, end - performance.now()),
    get passed() {
      return performance.now() >= end
    },
  }
}

/** Sleeps `ms`, but no longer than the deadline allows. Throws the signal's reason when it fires. */
export async function sleepWithin(ms: number, deadline: Deadline, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted()
  try {
    await sleep(Math.min(ms, deadline.leftMs()), undefined, signal === undefined ? {} : { signal })
  } catch (error) {
    signal?.throwIfAborted()
    throw error
  }
}

/**
 * Pause before the next look: a tenth of the time already waited, so that what is quick is seen at once and what is slow
 * is seen at most a tenth late; never more than `longestMs`.
 */
export function pollPauseMs(waitedMs: number, longestMs: number): number {
  return Math.min(longestMs, Math.max(20, waitedMs / 10))
}

/** Fires when the deadline passes or the outer signal does. `release` lets go of the timer; call it in a finally. */
export function signalWithin(ms: number, signal?: AbortSignal): { signal: AbortSignal; release(): void } {
  const controller = new AbortController()
  const timer = setTimeout(() => controller.abort(new DOMException('timed out', 'TimeoutError')), ms)
  const forward = () => controller.abort(signal?.reason)
  if (signal?.aborted) forward()
  signal?.addEventListener('abort', forward, { once: true })
  return {
    signal: controller.signal,
    release() {
      clearTimeout(timer)
      signal?.removeEventListener('abort', forward)
    },
  }
}
