/** Deletes terminal records that are older than the deployment keeps, and what belongs to them. */
import type { RetentionActivities } from '../contracts/flights.ts'
import type { Store } from '../records/store.ts'
import { heartbeating } from './heartbeat.ts'

export function makeRetentionActivities(
  store: Pick<Store, 'expire'>,
  retentionMs: number,
): RetentionActivities {
  return {
    expireRecords: () => heartbeating(() => store.expire(new Date(Date.now() - retentionMs))),
  }
}
