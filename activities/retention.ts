/** Deletes terminal records that are older than the deployment keeps, and what belongs to them, files included. */
import type { RetentionActivities } from '../contracts/flights.ts'
import type { Store } from '../records/store.ts'
import { heartbeating } from './heartbeat.ts'

export function makeRetentionActivities(
  store: Pick<Store, 'expire'>,
  retentionMs: number,
  expireFiles: (retentionMs: number) => Promise<void> = async () => undefined,
): RetentionActivities {
  return {
    expireRecords: () =>
      heartbeating(async () => {
        const records = await store.expire(retentionMs)
        // After the records: a file goes when its prediction has gone.
        await expireFiles(retentionMs)
        return records
      }),
  }
}
