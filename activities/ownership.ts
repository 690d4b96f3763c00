/** The activity of the ownership check. Owns what leaves it; how to look is runtime/temporal/ownership.ts. */
import { cancellationSignal } from '@temporalio/activity'
import { type FoundOwnerless, type OwnershipActivities, standardMinAgeMs } from '../contracts/ownership.ts'
import { checkOwnership, type OwnershipParts } from '../runtime/temporal/ownership.ts'
import { heartbeating } from './heartbeat.ts'

export interface OwnershipDeps extends Omit<OwnershipParts, 'onOwnerless'> {
  onOwnerless?(found: FoundOwnerless): void
  onOwnershipChecked?(): void
}

/** More would not fit into a workflow's result; all of it is in the log. */
const mostNamed = 1_000

export function makeOwnershipActivities(deps: OwnershipDeps): OwnershipActivities {
  return {
    checkOwnership: ({ found, minAgeMs = standardMinAgeMs }) =>
      heartbeating(async () => {
        const onOwnerless: OwnershipParts['onOwnerless'] = (one) => deps.onOwnerless?.({ ...one, found })
        const report = await checkOwnership({ ...deps, onOwnerless }, minAgeMs, cancellationSignal())
        deps.onOwnershipChecked?.()
        return { ...report, ownerless: report.ownerless.slice(0, mostNamed) }
      }),
  }
}
