/** Run by a schedule: deletes what is older than the deployment keeps. Owns no clock: the activity knows the limit. */
import { proxyActivities } from '@temporalio/workflow'
import type { RetentionActivities } from '../contracts/flights.ts'

export async function retention(): Promise<number> {
  const { expireRecords } = proxyActivities<RetentionActivities>({
    startToCloseTimeout: '30 minutes',
    heartbeatTimeout: '30s',
    retry: { initialInterval: '10s', maximumInterval: '5m', maximumAttempts: 10 },
  })
  return expireRecords()
}
