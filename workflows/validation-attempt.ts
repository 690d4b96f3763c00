/** One attempt: stop is owed before start is asked, and it runs however the attempt ends. Owns its steps and budgets. */
import {
  type ActivityOptions,
  CancellationScope,
  isCancellation,
  ParentClosePolicy,
  patched,
  proxyActivities,
  setCurrentDetails,
  startChild,
} from '@temporalio/workflow'
import { workflowNames } from '../contracts/names.ts'
import type { FailureClass } from '../contracts/validation-verdict.ts'
import type {
  AttemptInput,
  AttemptOutcome,
  PhaseEnd,
  Resolved,
  RunnerActivities,
  StopInput,
  ValidationState,
} from '../contracts/validations.ts'
import type { cleanup } from './cleanup.ts'
import { classOf, messageOf } from './validation-failure.ts'
import { hostQueue, hostWaitOf } from './validation-queues.ts'

type Step = keyof RunnerActivities
type Cleanup = AttemptOutcome['cleanup']

interface Failure {
  class: FailureClass
  message: string
}

const startLimitMs = 60_000
/** Beyond an activity's own budget: for its start, its last poll, its answer. */
const marginMs = 60_000
const collectLimitMs = 30_000
/** A job outlives its attempt's budgets by this before a reaper may take it. */
const expiryMarginMs = 300_000

export function makeAttempts(id: string, runId: string, queue: string, state: ValidationState) {
  const { opened, plan } = state
  const { budgets, probes } = plan

  /** An activity on the queue of the job's host; real failures are final, a lost worker is not. */
  function on(limitMs: number, more: ActivityOptions = {}) {
    return proxyActivities<RunnerActivities>({
      ...hostQueue(queue, opened),
      startToCloseTimeout: limitMs,
      heartbeatTimeout: '10s',
      retry: { initialInterval: '200ms', maximumInterval: '5s', nonRetryableErrorTypes: ['internal'] },
      ...more,
    })
  }

  function told(index: number, n: number, phase: string) {
    setCurrentDetails(
      `binary ${index} (${plan.binaries[index]}), attempt ${n} of ${budgets.numTries}: ${phase}`,
    )
    return { summary: `${phase} · binary ${index} attempt ${n}` }
  }

  async function resolve(index: number, n: number): Promise<Resolved> {
    const binary = state.binaries[index]!
    // Later attempts use the digest, so that a tag cannot move in between.
    binary.resolved ??= await on(budgets.pullMs + marginMs, {
      scheduleToCloseTimeout: budgets.pullMs + 2 * marginMs,
    }).resolveImage.executeWithOptions(told(index, n, 'resolve the image'), [
      { id, binary: index, budgetMs: budgets.pullMs },
    ])
    return binary.resolved
  }

  async function run(index: number, n: number): Promise<AttemptOutcome> {
    const failed = (error: unknown): Failure => ({
      class: classOf(error, 'JOB_ABORTED'),
      message: messageOf(error),
    })
    let image: string | undefined
    try {
      image = (await resolve(index, n)).image
    } catch (error) {
      const nothing: Cleanup = { gone: true, attempts: 0 }
      if (!isCancellation(error)) return outcomeOf(n, failed(error), nothing)
      // Nothing was started, but whoever cancels is told by the platform itself that nothing is there.
      if (!patched('stop-after-pull')) return outcomeOf(n, 'cancelled', nothing)
      const stopping = () => stop(index, n, inputOf(index, n, undefined))
      return outcomeOf(n, 'cancelled', await CancellationScope.nonCancellable(stopping))
    }
    const input = inputOf(index, n, image)
    const compensations: (() => Promise<Cleanup>)[] = []
    let end: Failure | 'passed' | 'cancelled'
    let stopped: Cleanup = { gone: true, attempts: 0 }
    try {
      compensations.push(() => stop(index, n, input))
      end = (await startAndProbe(index, n, input)) ?? 'passed'
    } catch (error) {
      end = isCancellation(error) ? 'cancelled' : failed(error)
    }
    await CancellationScope.nonCancellable(async () => {
      await collect(index, n, input, typeof end === 'string' ? end : 'failed')
      for (const compensate of compensations) stopped = await compensate()
    })
    return outcomeOf(n, end, stopped)
  }

  function inputOf(index: number, n: number, image: string | undefined): AttemptInput {
    const { loadingMs, queryMs, stopMs } = budgets
    const lifeMs = startLimitMs + loadingMs + queryMs + stopMs + expiryMarginMs
    return {
      ref: { workflowId: id, runId, binary: index, attempt: n },
      modelDigest: plan.modelDigest,
      ...(image !== undefined && { image }),
      expiresAt: new Date(Date.now() + lifeMs).toISOString(),
      host: opened.host,
    }
  }

  /** The failure that a probe found; what start and waits throw passes. */
  async function startAndProbe(index: number, n: number, input: AttemptInput): Promise<Failure | undefined> {
    const notAfter = new Date(Date.now() + startLimitMs).toISOString()
    await on(startLimitMs, {
      scheduleToCloseTimeout: startLimitMs,
      // A stop must not overtake a start.
      cancellationType: 'WAIT_CANCELLATION_COMPLETED',
    }).startJob.executeWithOptions(told(index, n, 'start'), [{ ...input, notAfter }])

    const { loadingMs, pollIntervalMs, readyStreak } = budgets
    const scheduled = await waiting(loadingMs).waitRunning.executeWithOptions(
      told(index, n, 'wait until running'),
      [{ ...input, budgetMs: loadingMs, pollIntervalMs }],
    )
    const leftMs = Math.max(0, loadingMs - scheduled.spentMs)
    await waiting(leftMs).waitModelReady.executeWithOptions(told(index, n, 'wait until the model is ready'), [
      { ...input, budgetMs: leftMs, pollIntervalMs, readyStreak },
    ])
    return await probe(index, n, input)
  }

  function waiting(budgetMs: number) {
    return on(budgetMs + marginMs, { scheduleToCloseTimeout: 2 * budgetMs + 10 * marginMs })
  }

  async function probe(index: number, n: number, input: AttemptInput): Promise<Failure | undefined> {
    let leftMs = budgets.queryMs
    const asked = [
      ['runRequests', probes.requests],
      ['runGolden', probes.golden],
      ['runLoad', probes.load],
    ] as const
    for (const [name, wanted] of asked) {
      if (!wanted) continue
      const { requestTimeoutMs } = budgets
      const ended: PhaseEnd = await waiting(leftMs)[name].executeWithOptions(
        told(index, n, phaseNames[name]),
        [{ ...input, budgetMs: leftMs, requestTimeoutMs }],
      )
      if (ended.failure !== undefined) return ended.failure
      leftMs = Math.max(0, leftMs - ended.spentMs)
    }
    if (!probes.memory) return undefined
    const judged = await on(collectLimitMs, {
      scheduleToCloseTimeout: 4 * collectLimitMs,
    }).judgeMemory.executeWithOptions(told(index, n, phaseNames.judgeMemory), [input])
    return judged.failure
  }

  /** Cannot change the verdict: whatever it fails with is forgotten. */
  async function collect(
    index: number,
    n: number,
    input: AttemptInput,
    outcome: AttemptOutcome['outcome'],
  ): Promise<void> {
    const { collectJob } = on(collectLimitMs, {
      scheduleToCloseTimeout: hostWaitOf(opened) + collectLimitMs,
      retry: { initialInterval: '200ms', maximumAttempts: 3 },
    })
    await collectJob
      .executeWithOptions(told(index, n, 'collect logs and exit'), [{ ...input, outcome }])
      .catch(() => undefined)
  }

  /** Never throws: its own time limit and a dead host count as "not gone". */
  async function stop(index: number, n: number, input: AttemptInput): Promise<Cleanup> {
    const request: StopInput = { ...input, graceSeconds: budgets.stopGraceSeconds, budgetMs: budgets.stopMs }
    const { stopJob } = on(budgets.stopMs + marginMs, {
      scheduleToCloseTimeout: budgets.stopMs + marginMs,
      retry: { initialInterval: '1s', maximumInterval: '15s' },
    })
    let report: Cleanup
    try {
      report = await stopJob.executeWithOptions(told(index, n, 'stop'), [request])
    } catch (error) {
      report = { gone: false, attempts: 0, lastError: messageOf(error) }
    }
    if (!report.gone) await leaveCleanup(index, n, request)
    return report
  }

  /** Somebody goes on trying when this validation has ended. */
  async function leaveCleanup(index: number, n: number, request: StopInput): Promise<void> {
    try {
      await startChild<typeof cleanup>(workflowNames.cleanup, {
        workflowId: `${id}-cleanup-${index}-${n}`,
        args: [{ queue: opened.runnerQueue ?? queue, stop: request }],
        parentClosePolicy: ParentClosePolicy.ABANDON,
        workflowIdReusePolicy: 'ALLOW_DUPLICATE',
        staticSummary: `goes on stopping binary ${index}, attempt ${n} of ${id}`,
      })
    } catch (error) {
      if (!(error instanceof Error) || error.name !== 'WorkflowExecutionAlreadyStartedError') throw error
    }
  }

  return { run }
}

const phaseNames = {
  runRequests: 'sample requests',
  runGolden: 'golden answers',
  runLoad: 'load',
  judgeMemory: 'memory',
} as const satisfies Partial<Record<Step, string>>

function outcomeOf(n: number, end: Failure | 'passed' | 'cancelled', stopped: Cleanup): AttemptOutcome {
  if (typeof end === 'string') return { n, outcome: end, cleanup: stopped }
  return { n, outcome: 'failed', errorClass: end.class, message: end.message, cleanup: stopped }
}
