/** Removes expired jobs of one host again and again: the backstop for what no code of ours can stop any more. */
import { continueAsNew, proxyActivities, sleep, TimeoutFailure } from '@temporalio/workflow'
import type { ReaperActivities, ReaperInput } from '../contracts/validations.ts'

const everyMs = 60_000
const rounds = 500

/** The workflow `reaper-<queue>`. It ends when the host has had no worker for an hour; the next worker starts it again. */
export async function reaper(input: ReaperInput): Promise<void> {
  const { sweepJobs } = proxyActivities<ReaperActivities>({
    taskQueue: input.queue,
    scheduleToStartTimeout: '1 hour',
    startToCloseTimeout: '5 minutes',
    heartbeatTimeout: '30s',
    retry: { initialInterval: '10s', maximumInterval: '5 minutes' },
  })
  for (let round = 0; round < rounds; round++) {
    try {
      await sweepJobs()
    } catch (error) {
      if (error instanceof Error && error.cause instanceof TimeoutFailure) return
      throw error
    }
    await sleep(everyMs)
  }
  await continueAsNew<typeof reaper>(input)
}
