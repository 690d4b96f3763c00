/** The schedules of a deployment, made by the first worker that may; and the ownership check that each worker's start brings. */
import {
  Client,
  ScheduleAlreadyRunning,
  type ScheduleOptions,
  ScheduleOverlapPolicy,
} from '@temporalio/client'
import type { NativeConnection } from '@temporalio/worker'
import { guardQueueOf, ownershipIdOf, workflowNames } from '../contracts/names.ts'
import type { OwnershipInput } from '../contracts/ownership.ts'

export interface SchedulesOptions {
  namespace: string
  taskQueue: string
  /** Absent = an hour. */
  ownershipEveryMs?: number
}

const hourMs = 3_600_000

export async function makeSchedules(
  connection: NativeConnection,
  { namespace, taskQueue, ownershipEveryMs = hourMs }: SchedulesOptions,
  warn: (text: string) => void,
): Promise<void> {
  const { schedule, workflow } = new Client({ connection, namespace })
  const policies = { overlap: ScheduleOverlapPolicy.SKIP }

  /** True if it was there already. */
  async function isThere(options: ScheduleOptions): Promise<boolean> {
    try {
      await schedule.create(options)
      return false
    } catch (error) {
      if (error instanceof ScheduleAlreadyRunning) return true
      throw error
    }
  }

  async function retention(): Promise<void> {
    await isThere({
      scheduleId: `${workflowNames.retention}-${taskQueue}`,
      spec: { intervals: [{ every: '1h' }], jitter: '5m' },
      policies,
      action: {
        type: 'startWorkflow',
        workflowType: workflowNames.retention,
        workflowId: `${workflowNames.retention}-${taskQueue}`,
        taskQueue: guardQueueOf(taskQueue),
      },
    })
  }

  async function ownership(): Promise<void> {
    const id = ownershipIdOf(taskQueue)
    const check = {
      taskQueue: guardQueueOf(taskQueue),
      workflowId: id,
      staticSummary: 'does every open record have a live workflow?',
    }
    const args = (input: OwnershipInput) => [input]
    await workflow.start(workflowNames.ownershipCheck, {
      ...check,
      args: args({ found: 'start' }),
      workflowIdReusePolicy: 'ALLOW_DUPLICATE',
      workflowIdConflictPolicy: 'USE_EXISTING',
    })
    const spec = { intervals: [{ every: ownershipEveryMs }] }
    const known = await isThere({
      scheduleId: id,
      spec,
      policies,
      action: {
        ...check,
        type: 'startWorkflow',
        workflowType: workflowNames.ownershipCheck,
        args: args({ found: 'hour' }),
      },
    })
    // The interval may be another one now; whether it is paused is the operator's.
    if (known) await schedule.getHandle(id).update((before) => ({ ...before, spec }))
  }

  await retention().catch(() =>
    warn('the schedule that deletes expired records could not be made; records are kept until it is'),
  )
  await ownership().catch(() =>
    warn('the schedule of the ownership check could not be made; the next start of a worker tries again'),
  )
}
