/** The schedules of a deployment: made by the first worker that may, left alone by the others. */
import { Client, ScheduleAlreadyRunning, ScheduleOverlapPolicy } from '@temporalio/client'
import type { NativeConnection } from '@temporalio/worker'
import { guardQueueOf, workflowNames } from '../contracts/names.ts'

export async function makeSchedules(
  connection: NativeConnection,
  { namespace, taskQueue }: { namespace: string; taskQueue: string },
  warn: (text: string) => void,
): Promise<void> {
  const { schedule } = new Client({ connection, namespace })
  try {
    await schedule.create({
      scheduleId: `${workflowNames.retention}-${taskQueue}`,
      spec: { intervals: [{ every: '1h' }], jitter: '5m' },
      policies: { overlap: ScheduleOverlapPolicy.SKIP },
      action: {
        type: 'startWorkflow',
        workflowType: workflowNames.retention,
        workflowId: `${workflowNames.retention}-${taskQueue}`,
        taskQueue: guardQueueOf(taskQueue),
      },
    })
  } catch (error) {
    if (error instanceof ScheduleAlreadyRunning) return
    warn('the schedule that deletes expired records could not be made; records are kept until it is')
  }
}
