/** What a workflow that owns records does when an activity has failed for good: another round. No failure ends it. */
import { ActivityFailure, isCancellation, patched, sleep } from '@temporalio/workflow'

const firstPauseMs = 1_000
const longestPauseMs = 30_000

/** Before the round that follows so many failed ones. */
export function pauseAfter(failures: number): number {
  return Math.min(longestPauseMs, firstPauseMs * 2 ** (failures - 1))
}

/** A failed activity, and not because the workflow was cancelled. */
export function isAnotherRound(error: unknown): boolean {
  return error instanceof ActivityFailure && !isCancellation(error) && patched('another-round')
}

/** For what has nothing else to do meanwhile. */
export async function untilDone<T>(run: () => Promise<T>): Promise<T> {
  for (let failures = 1; ; failures++) {
    try {
      return await run()
    } catch (error) {
      if (!isAnotherRound(error)) throw error
    }
    await sleep(pauseAfter(failures))
  }
}
