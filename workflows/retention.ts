/** Run by a schedule: deletes what is older than the deployment keeps. Owns no clock and no limit: the store has the one, the activity knows the other. */
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
