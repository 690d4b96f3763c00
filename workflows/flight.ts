/** One flight: carries 1..N predictions to their terminal statuses in rounds. Owns waiting and order, never a status. */
import {
  CancellationScope,
  condition,
  continueAsNew,
  defineSignal,
  isCancellation,
  log,
  patched,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  sleep,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow'
import { codeOf } from '../contracts/errors.ts'
import type {
  FlightActivities,
  FlightInput,
  FlightResult,
  FlyReport,
  OpenPrediction,
} from '../contracts/flights.ts'
import { pausedMs, searchAttributes } from '../contracts/flights.ts'
import { wakeSignal } from '../contracts/names.ts'
import { isAnotherRound, pauseAfter, untilDone } from './another-round.ts'

const wake = defineSignal(wakeSignal)

/** Of runs that began before the pause grew beyond it. */
const oncePausedMs = 30_000
/** Members handed back for want of a free place fly again in groups this much smaller. */
const shrink = 4
/** Predictions due this soon join the round that leaves now: one round is dearer than so short a wait. */
const togetherMs = 100

interface Waiting extends OpenPrediction {
  dueMs: number
}

/** The workflow `flight-<prefix>`. Cancelled by an operator: every open record reads `canceled`, then it ends. */
export async function flight(input: FlightInput): Promise<FlightResult> {
  const totals: FlightResult = { succeeded: 0, failed: 0, canceled: 0, ...input.totals }
  const rounds = makeRounds(input, totals)
  let cancellation: unknown
  try {
    await rounds.withDeadlines(rounds.untilEnded)
  } catch (error) {
    if (!isCancellation(error)) throw error
    cancellation = error
    await CancellationScope.nonCancellable(async () => {
      await rounds.cancelOpen()
      await rounds.untilEnded()
    })
  }
  showOutcome(totals)
  if (cancellation !== undefined) throw cancellation
  return totals
}

function makeRounds(input: FlightInput, totals: FlightResult) {
  const activities = proxyActivities<FlightActivities>({
    // Bounds a lost worker only: what a call may take is bounded by the task timeout inside `fly`.
    startToCloseTimeout: '1 day',
    heartbeatTimeout: input.heartbeatTimeoutMs,
    // Calls that began run to their end, so a cancelled flight does not wait for them: the record says `canceled`.
    cancellationType: 'TRY_CANCEL',
    retry: { initialInterval: 100, backoffCoefficient: 2, maximumInterval: '10s' },
  })
  const started = Date.now()
  let waiting: Waiting[] = input.ids.map((id) => ({ id, why: 'untaken', waitMs: 0, dueMs: 0 }))
  let groupSize = input.ids.length
  let pauses = 0
  /** Rounds in a row in which `fly` failed. */
  let failures = 0
  let hasFailed = false
  let woken = false
  setHandler(wake, () => {
    woken = true
  })

  async function fly(ids: string[]): Promise<FlyReport> {
    const { lane, model, streamer } = input
    const flyInput = { ids, lane, ...(model && { model }), ...(streamer && { streamer }) }
    try {
      return await activities.fly.executeWithOptions({ summary: summaryOf(ids) }, [flyInput])
    } catch (error) {
      if (!isAnotherRound(error)) throw error
      hasFailed = true
      const wait = { why: 'retry', waitMs: pauseAfter(failures + 1), code: codeOf(error) } as const
      return { succeeded: 0, failed: 0, canceled: 0, open: ids.map((id) => ({ id, ...wait })) }
    }
  }

  async function untilEnded(): Promise<void> {
    while (waiting.length > 0) {
      await untilDue()
      // Temporal ends a workflow whose history is too long; one that waits for days goes on under a new one in time.
      if (workflowInfo().continueAsNewSuggested && patched('flight-next-run')) await goOn()
      // A wake-up that comes while predictions fly counts for the wait that follows.
      woken = false
      const nowMs = Date.now() - started
      const due = waiting.filter((member) => member.dueMs <= nowMs + togetherMs)
      const later = waiting.filter((member) => member.dueMs > nowMs + togetherMs)
      hasFailed = false
      const reports = await Promise.all(groups(due.map((member) => member.id)).map(fly))
      failures = hasFailed ? failures + 1 : 0
      waiting = [...later, ...reports.flatMap((report) => collect(report))]
    }
  }

  /** The next run asks the store at once when the next deadline is. */
  function goOn(): Promise<never> {
    const ids = waiting.map((member) => member.id)
    const dated = input.deadlineInMs === undefined ? {} : { deadlineInMs: 0 }
    return continueAsNew<typeof flight>({ ...input, ...dated, ids, totals })
  }

  function groups(ids: string[]): string[][] {
    const result: string[][] = []
    for (let at = 0; at < ids.length; at += groupSize) result.push(ids.slice(at, at + groupSize))
    return result
  }

  function collect(report: FlyReport): Waiting[] {
    totals.succeeded += report.succeeded
    totals.failed += report.failed
    totals.canceled += report.canceled
    if (report.open.some((member) => member.why === 'untaken')) {
      groupSize = Math.max(1, Math.floor(groupSize / shrink))
    }
    const nowMs = Date.now() - started
    return report.open.map((member) => ({
      ...member,
      dueMs: nowMs + (member.why === 'paused' ? pauseMs() : member.waitMs),
    }))
  }

  function pauseMs(): number {
    const ms = pausedMs(pauses)
    return ms <= oncePausedMs || patched('longer-pauses') ? ms : oncePausedMs
  }

  /** Waits for the first member's time; a wake-up makes all of them due. */
  async function untilDue(): Promise<void> {
    const nowMs = Date.now() - started
    const firstDueMs = Math.min(...waiting.map((member) => member.dueMs))
    pauses = waiting.some((member) => member.why === 'paused') ? pauses + 1 : 0
    if (firstDueMs <= nowMs) return
    setCurrentDetails(waiting.map(describe).join('\n'))
    const wasWoken = await condition(() => woken, firstDueMs - nowMs)
    if (wasWoken) waiting = waiting.map((member) => ({ ...member, dueMs: 0 }))
    setCurrentDetails('')
  }

  async function cancelOpen(): Promise<void> {
    await untilDone(() => activities.cancelOpen(waiting.map((member) => member.id)))
    waiting = waiting.map((member) => ({ ...member, dueMs: 0 }))
  }

  /** While `work` goes on, predictions end at their own deadlines, whoever holds them. */
  async function withDeadlines(work: () => Promise<void>): Promise<void> {
    const { deadlineInMs } = input
    if (deadlineInMs === undefined) return work()
    const scope = new CancellationScope()
    const watch = scope
      .run(() => endAtDeadlines(deadlineInMs))
      .catch((error: unknown) => {
        // What is taken later still finds its deadline passed.
        if (!isCancellation(error)) log.error('deadlines are no longer watched', { error })
      })
    try {
      await work()
    } finally {
      scope.cancel()
      await watch
    }
  }

  async function endAtDeadlines(firstInMs: number): Promise<void> {
    for (let inMs: number | undefined = firstInMs; inMs !== undefined; ) {
      await sleep(inMs)
      inMs = (await untilDone(() => activities.endOverdue(input.ids))).nextMs
      // Those that wait for another try or for the queue have ended: what they owe is sent now.
      woken = true
    }
  }

  return { untilEnded, cancelOpen, withDeadlines }
}

function summaryOf(ids: readonly string[]): string {
  return ids.length === 1 ? `${ids[0]}` : `${ids.length} predictions`
}

function describe(member: Waiting): string {
  const reason = {
    untaken: 'waits for a free place',
    retry: 'waits for another try',
    paused: 'waits: the queue is paused',
    canceling: 'waits for the provider to take the cancel',
    outbox: 'ended; a message about it waits to be sent',
  }[member.why]
  return `- ${member.id}: ${reason}${member.code === undefined ? '' : ` (${member.code})`}`
}

/** `TaskStatus` is written only for a flight that did not wholly succeed: every history event costs. */
function showOutcome(totals: FlightResult): void {
  if (totals.failed === 0 && totals.canceled === 0) return
  const registered = workflowInfo()
    .typedSearchAttributes.getAll()
    .some((pair) => pair.key.name === searchAttributes.flightSize)
  if (!registered) return
  const status = totals.failed > 0 ? 'failed' : 'canceled'
  upsertSearchAttributes([{ key: { name: searchAttributes.taskStatus, type: 'KEYWORD' }, value: status }])
}
