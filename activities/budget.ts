/** The time budget of one activity on the monotonic clock; what a killed worker had spent of it stays spent. */
import { Context } from '@temporalio/activity'
import { type Deadline, deadlineIn } from '../protocols/deadline.ts'

export interface Budget {
  deadline: Deadline
  /** Fires when the activity is cancelled, or with the reason of one of the given signals. */
  signal: AbortSignal
  /** Since the first delivery of this activity, the time without a worker left out. */
  spentMs(): number
}

const intervalMs = 500

/** Heartbeats what has been spent for as long as `work` runs. */
export async function budgeted<T>(
  budgetMs: number,
  signals: readonly AbortSignal[],
  work: (budget: Budget) => Promise<T>,
): Promise<T> {
  const context = Context.current()
  const details: unknown = context.info.heartbeatDetails
  const before = typeof details === 'number' ? details : 0
  const since = performance.now()
  const spentMs = () => Math.round(before + performance.now() - since)
  context.heartbeat(before)
  const timer = setInterval(() => context.heartbeat(spentMs()), intervalMs)
  try {
    const deadline = deadlineIn(Math.max(0, budgetMs - before))
    const signal = AbortSignal.any([context.cancellationSignal, ...signals])
    return await work({ deadline, signal, spentMs })
  } finally {
    clearInterval(timer)
  }
}
