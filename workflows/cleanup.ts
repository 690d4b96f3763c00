/** Goes on stopping one job whose validation could not: it ends when the job is gone, whenever its host is back. */
import { CancellationScope, proxyActivities, sleep } from '@temporalio/workflow'
import type { CleanupInput, RunnerActivities } from '../contracts/validations.ts'

const firstPauseMs = 15_000
const longestPauseMs = 300_000
/** By then every reaper has had the job. */
const rounds = 500

/** The workflow `<validation>-cleanup-<binary>-<attempt>`. */
export async function cleanup({ queue, stop }: CleanupInput): Promise<{ gone: boolean }> {
  const { stopJob } = proxyActivities<RunnerActivities>({
    taskQueue: queue,
    // No limit on waiting for a worker: the host may be away for days.
    startToCloseTimeout: stop.budgetMs + 60_000,
    heartbeatTimeout: '10s',
    retry: { initialInterval: '5s', maximumInterval: '5 minutes' },
  })
  return CancellationScope.nonCancellable(async () => {
    let pauseMs = firstPauseMs
    for (let round = 0; round < rounds; round++) {
      if ((await stopJob(stop)).gone) return { gone: true }
      await sleep(pauseMs)
      pauseMs = Math.min(longestPauseMs, pauseMs * 2)
    }
    return { gone: false }
  })
}
