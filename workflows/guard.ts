/** The guard of one API process: when the process is gone, it ends or starts what the process held. */
import {
  CancellationScope,
  continueAsNew,
  log,
  ParentClosePolicy,
  patched,
  proxyActivities,
  sleep,
  startChild,
  workflowInfo,
} from '@temporalio/workflow'
import type { FlightStart, GuardActivities, GuardInput } from '../contracts/flights.ts'
import { flightIdOf, workflowNames, workflowTaskTimeoutMs } from '../contracts/names.ts'
import type { flight } from './flight.ts'

const firstPauseMs = 1_000
const longestPauseMs = 30_000

/** The workflow `guard-<process>`. A cancel from outside is ignored: the process would be left without an owner. */
export async function guard(settings: GuardInput): Promise<void> {
  await CancellationScope.nonCancellable(() => watchAndSettle(settings))
}

async function watchAndSettle(settings: GuardInput): Promise<void> {
  const { processId, flightQueue } = settings
  const short = proxyActivities<GuardActivities>({
    startToCloseTimeout: '1 minute',
    retry: { initialInterval: '500ms', maximumInterval: '10s' },
  })
  const long = proxyActivities<GuardActivities>({
    startToCloseTimeout: '3650 days',
    heartbeatTimeout: '10s',
    retry: { initialInterval: '100ms', maximumInterval: '5s' },
  })

  const opened = await short.openProcess(processId)
  if (opened) await long.watchProcess(processId)

  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(longestPauseMs, pauseMs * 2)) {
    const report = await short.settleProcess(processId)
    for (const unstarted of report.flights) await startFlight(unstarted, flightQueue)
    if (report.flights.length > 0) await short.markStarted(report.flights.map((one) => one.prefix))
    if (report.flights.length === 0 && report.outboxDue === 0) return
    if (report.outboxDue > 0) await sleep(pauseMs)
    // Whoever is to be told may be away for days, and Temporal ends a workflow whose history is too long.
    if (workflowInfo().continueAsNewSuggested && patched('guard-next-run')) {
      await continueAsNew<typeof guard>(settings)
    }
  }
}

/** A flight that is under way already needs no second start: its id is taken, and that is an answer too. */
async function startFlight(unstarted: FlightStart, flightQueue: string): Promise<void> {
  const { prefix, lane, platform, heartbeatTimeoutMs, ids, models, deadlineInMs } = unstarted
  const [model, ...others] = models
  const only = model !== undefined && others.length === 0 ? { model } : {}
  const dated = deadlineInMs === undefined ? {} : { deadlineInMs }
  try {
    await startChild<typeof flight>(workflowNames.flight, {
      workflowId: flightIdOf(prefix),
      taskQueue: flightQueue,
      args: [{ ids, lane, platform, heartbeatTimeoutMs, ...only, ...dated }],
      parentClosePolicy: ParentClosePolicy.ABANDON,
      workflowIdReusePolicy: 'ALLOW_DUPLICATE',
      workflowTaskTimeout: workflowTaskTimeoutMs,
      staticSummary: `started by ${workflowInfo().workflowId}`,
    })
  } catch (error) {
    if (!(error instanceof Error) || error.name !== 'WorkflowExecutionAlreadyStartedError') throw error
    log.info('flight is under way already', { flight: flightIdOf(prefix) })
  }
}
