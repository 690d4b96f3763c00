/** Run by a schedule: deletes what is older than the deployment keeps. Owns no clock: the activity knows the limit. */
import { proxyActivities } from '@temporalio/workflow'
import type { RetentionActivities } from '../contracts/flights.ts'
import { untilDone } from './another-round.ts'

export async function retention(): Promise<number> {
  const { expireRecords } = proxyActivities<RetentionActivities>({
    startToCloseTimeout: '30 minutes',
    heartbeatTimeout: '30s',
    retry: { initialInterval: '1s', maximumInterval: '30s' },
  })
  return untilDone(expireRecords)
}
