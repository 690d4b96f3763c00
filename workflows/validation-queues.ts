/** On which queue an activity of a validation runs, and how long it waits there. */
import { type ActivityOptions, proxyActivities } from '@temporalio/workflow'
import type { Opened, ValidationActivities } from '../contracts/validations.ts'

const standardHostWaitMs = 60_000

/** Activities that any worker may run. */
export function anywhere(queue: string) {
  return proxyActivities<ValidationActivities>({
    taskQueue: queue,
    startToCloseTimeout: '2 minutes',
    heartbeatTimeout: '10s',
    retry: { initialInterval: '200ms', maximumInterval: '10s' },
  })
}

/** Where a runner bound to a host is reached; without a worker there for so long, the host is away. */
export function hostQueue(queue: string, opened: Opened): ActivityOptions {
  const { runnerQueue } = opened
  return runnerQueue === undefined
    ? { taskQueue: queue }
    : { taskQueue: runnerQueue, scheduleToStartTimeout: hostWaitOf(opened) }
}

export function hostWaitOf({ hostWaitMs = standardHostWaitMs }: Opened): number {
  return hostWaitMs
}
