/** Looks whether every open record has a live workflow. Owns that somebody looks; what is found, the activity mends. */
import { proxyActivities } from '@temporalio/workflow'
import type { OwnershipActivities, OwnershipInput, OwnershipReport } from '../contracts/ownership.ts'
import { untilDone } from './another-round.ts'

/** The workflow `ownership-<task queue>`, and what the schedule or an operator puts behind that. */
export async function ownershipCheck(input: OwnershipInput): Promise<OwnershipReport> {
  const { checkOwnership } = proxyActivities<OwnershipActivities>({
    startToCloseTimeout: '1 day',
    heartbeatTimeout: '10s',
    retry: { initialInterval: '1s', maximumInterval: '30s' },
  })
  return untilDone(() => checkOwnership(input))
}
