/** How much waits in Temporal's task queues of this deployment, and who asks for it. For metrics only: the counts are approximate. */

import { deliveryQueueOf, guardQueueOf, validationQueueOf } from '../../contracts/names.ts'
import type { QueueBacklog } from '../../metrics.ts'
import type { TemporalConnection } from './client.ts'

/** Numbers of Temporal's `TaskQueueType`. */
const kinds = { workflow: 1, activity: 2 } as const
const deadlineMs = 2_000

/** Rejects when Temporal is away. */
export async function queueBacklogs(
  connection: Pick<TemporalConnection, 'workflowService' | 'withDeadline'>,
  { namespace, taskQueue }: { namespace: string; taskQueue: string },
): Promise<QueueBacklog[]> {
  const asked: [string, QueueBacklog['kind']][] = [
    [taskQueue, 'workflow'],
    [taskQueue, 'activity'],
    [guardQueueOf(taskQueue), 'workflow'],
    [deliveryQueueOf(taskQueue), 'activity'],
    [validationQueueOf(taskQueue), 'activity'],
  ]
  return connection.withDeadline(Date.now() + deadlineMs, () =>
    Promise.all(
      asked.map(async ([queue, kind]) => {
        const { stats, pollers } = await connection.workflowService.describeTaskQueue({
          namespace,
          taskQueue: { name: queue },
          taskQueueType: kinds[kind],
          reportStats: true,
        })
        return {
          queue,
          kind,
          tasks: Number(stats?.approximateBacklogCount ?? 0),
          ageSeconds: Number(stats?.approximateBacklogAge?.seconds ?? 0),
          pollers: pollers?.length ?? 0,
        }
      }),
    ),
  )
}
