/** The guard of one API process: when the process is gone, it ends or starts what the process held. */
import {
  CancellationScope,
  continueAsNew,
  patched,
  proxyActivities,
  sleep,
  workflowInfo,
} from '@temporalio/workflow'
import type { GuardActivities, GuardInput } from '../contracts/flights.ts'

const firstPauseMs = 1_000
const longestPauseMs = 30_000
/** Temporal refuses a flight that it will take neither with nor without search attributes: it is asked again. */
const refusedAgainMs = 60_000

/** The workflow `guard-<process>`. A cancel from outside is ignored: the process would be left without an owner. */
export async function guard(settings: GuardInput): Promise<void> {
  await CancellationScope.nonCancellable(() => watchAndSettle(settings))
}

async function watchAndSettle(settings: GuardInput): Promise<void> {
  const { processId } = settings
  const short = proxyActivities<GuardActivities>({
    startToCloseTimeout: '1 minute',
    retry: { initialInterval: '500ms', maximumInterval: '10s' },
  })
  const long = proxyActivities<GuardActivities>({
    startToCloseTimeout: '3650 days',
    heartbeatTimeout: '10s',
    retry: { initialInterval: '100ms', maximumInterval: '5s' },
  })

  await short.openProcess(processId)
  // Also of a process that could not be opened any more: it may still be on its way out.
  await long.watchProcess(processId)

  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(longestPauseMs, pauseMs * 2)) {
    const { alive, unstarted, outboxDue } = await short.settleProcess(processId)
    if (alive) await long.watchProcess(processId)
    const refused = unstarted ? (await long.startUnstarted(processId)).refused : 0
    if (!alive && !unstarted && outboxDue === 0) return
    if (refused > 0) await sleep(refusedAgainMs)
    else if (outboxDue > 0) await sleep(pauseMs)
    // Whoever is to be told may be away for days, and Temporal ends a workflow whose history is too long.
    if (workflowInfo().continueAsNewSuggested && patched('guard-next-run')) {
      await continueAsNew<typeof guard>(settings)
    }
  }
}
