/** One validation: prepared, every binary tried, concluded. Owns the order and the verdict; attempts are validation-attempt.ts. */
import {
  CancellationScope,
  CancelledFailure,
  continueAsNew,
  isCancellation,
  ParentClosePolicy,
  patched,
  proxyActivities,
  setCurrentDetails,
  sleep,
  startChild,
  workflowInfo,
} from '@temporalio/workflow'
import { keeperIdOf, workflowNames } from '../contracts/names.ts'
import {
  anotherAttempt,
  attemptDelayMs,
  type FailureClass,
  verdictOf,
} from '../contracts/validation-verdict.ts'
import type {
  AttemptOutcome,
  BinaryState,
  ConclusionInput,
  Opened,
  RunnerActivities,
  ValidationInput,
  ValidationResult,
  ValidationState,
} from '../contracts/validations.ts'
import type { keeper } from './keeper.ts'
import { makeAttempts } from './validation-attempt.ts'
import { classOf, messageOf } from './validation-failure.ts'
import { anywhere, hostQueue } from './validation-queues.ts'

interface Failure {
  class: FailureClass
  message: string
}

/** The workflow `validation-<uuid>`. It ends cancelled when it was cancelled before its verdict was fixed. */
export async function validation(input: ValidationInput): Promise<ValidationResult> {
  const id = workflowInfo().workflowId
  const runId = workflowInfo().firstExecutionRunId
  const run: { binaries: BinaryState[]; error?: Failure; accepted: boolean } = {
    binaries: [],
    accepted: true,
  }
  let cancellation: unknown
  try {
    if (patched('keeper')) await keep(id, runId, input.queue)
    const state = input.resume ?? (await opened(id, input))
    if (state === undefined) return { verdict: 'ERROR', blessing: null }
    run.binaries = state.binaries
    await tryBinaries(id, runId, input.queue, state)
    const changed = await digestAgain(id, input.queue, state)
    if (changed) run.error = changed
    // A cancellation that came while a stop ran has waited for it (BUG-06).
    if (CancellationScope.current().consideredCancelled) throw new CancelledFailure('cancelled')
  } catch (error) {
    if (isCancellation(error)) cancellation = error
    else if (isContinuation(error)) throw error
    else run.error = failureOutside(error)
  }
  const result = await CancellationScope.nonCancellable(() =>
    conclude(id, runId, input.queue, run, cancellation !== undefined),
  )
  if (cancellation !== undefined) throw cancellation
  return result
}

/** Somebody who ends the record, and stops the jobs, when no code of this workflow can. */
async function keep(id: string, runId: string, queue: string): Promise<void> {
  await CancellationScope.nonCancellable(() =>
    startChild<typeof keeper>(workflowNames.keeper, {
      // A run that was reset repeats its history under an id of its own; this one is in the history.
      workflowId: keeperIdOf(id, workflowInfo().originalExecutionRunId),
      args: [{ id, runId, queue }],
      parentClosePolicy: ParentClosePolicy.REQUEST_CANCEL,
      staticSummary: `waits for the end of ${id}`,
    }),
  )
}

/** Undefined: nobody was told that this validation exists. */
async function opened(
  id: string,
  { queue, template }: ValidationInput,
): Promise<ValidationState | undefined> {
  const opening = await anywhere(queue).openValidation({ id, ...(template !== undefined && { template }) })
  if (opening.outcome === 'unknown') return undefined
  const { prepareValidation } = readingModel(queue, opening)
  const plan = await prepareValidation.executeWithOptions({ summary: 'check the spec, digest the model' }, [
    id,
  ])
  return { opened: opening, plan, binaries: plan.binaries.map(() => ({ attempts: [] })) }
}

/** The digest of a large model takes as long as reading it. */
function readingModel(queue: string, opened: Opened) {
  return proxyActivities<RunnerActivities>({
    ...hostQueue(queue, opened),
    startToCloseTimeout: '2 hours',
    heartbeatTimeout: '10s',
    retry: { initialInterval: '200ms', maximumInterval: '10s', nonRetryableErrorTypes: ['internal'] },
  })
}

/** No binary short-circuits the others. */
async function tryBinaries(id: string, runId: string, queue: string, state: ValidationState): Promise<void> {
  const { plan } = state
  const attempts = makeAttempts(id, runId, queue, state)
  for (const [index, binary] of state.binaries.entries()) {
    while (!isDone(binary, plan)) {
      const n = binary.attempts.length + 1
      const last = binary.attempts.at(-1)
      if (last !== undefined) {
        const { firstDelayMs, longestDelayMs } = plan.budgets
        setCurrentDetails(
          `binary ${index} (${plan.binaries[index]}): waits before attempt ${n}; ${last.errorClass}`,
        )
        await sleep(attemptDelayMs(last.n, firstDelayMs, longestDelayMs, Math.random()))
      }
      if (workflowInfo().continueAsNewSuggested)
        await continueAsNew<typeof validation>({ queue, resume: state })
      const outcome = await attempts.run(index, n)
      binary.attempts.push(outcome)
      if (outcome.outcome === 'cancelled') throw new CancelledFailure('cancelled')
    }
  }
}

function isDone({ attempts }: BinaryState, { budgets, retryOn }: ValidationState['plan']): boolean {
  const last = attempts.at(-1)
  if (last === undefined) return false
  const failure = last.errorClass ?? 'JOB_ABORTED'
  return last.outcome === 'passed' || !anotherAttempt(failure, last.n, budgets.numTries, retryOn)
}

async function digestAgain(
  id: string,
  queue: string,
  { opened: opening, plan }: ValidationState,
): Promise<Failure | undefined> {
  const { digestModel } = readingModel(queue, opening)
  let digest: string
  try {
    digest = await digestModel.executeWithOptions({ summary: 'digest the model again' }, [id])
  } catch (error) {
    if (isCancellation(error)) throw error
    // Files that cannot be read any more are changed files; a host that is away is not.
    const failure = failureOutside(error)
    return failure.class === 'CONFIG_INVALID' ? { ...failure, class: 'MODEL_CHANGED' } : failure
  }
  if (digest === plan.modelDigest) return undefined
  const message = `the model's digest was ${plan.modelDigest} before the attempts and is ${digest} now`
  return { class: 'MODEL_CHANGED', message }
}

async function conclude(
  id: string,
  runId: string,
  queue: string,
  { binaries, error }: { binaries: BinaryState[]; error?: Failure },
  cancelled: boolean,
): Promise<ValidationResult> {
  const verdict = verdictOf({
    cancelled,
    error: error?.class,
    binaries: binaries.map(({ attempts }) => ({
      passed: attempts.some(({ outcome }) => outcome === 'passed'),
      failures: attempts.flatMap(({ errorClass }) => (errorClass === undefined ? [] : [errorClass])),
    })),
  })
  const conclusion: ConclusionInput = { id, runId, verdict, binaries, ...(error && !cancelled && { error }) }
  const result = await anywhere(queue).writeBlessing.executeWithOptions(
    { summary: `write the verdict: ${verdict}` },
    [conclusion],
  )
  setCurrentDetails(detailsOf(result, error, binaries))
  return result
}

function detailsOf(
  result: ValidationResult,
  error: Failure | undefined,
  binaries: readonly BinaryState[],
): string {
  const lines = binaries.flatMap(({ attempts }, index) => attempts.map((one) => lineOf(index, one)))
  return [result.verdict, ...(error ? [`${error.class}: ${error.message}`] : []), ...lines].join('\n')
}

function lineOf(index: number, { n, outcome, errorClass, message }: AttemptOutcome): string {
  const why = errorClass === undefined ? '' : ` (${errorClass}: ${message ?? ''})`
  return `- binary ${index}, attempt ${n}: ${outcome}${why}`
}

/** What fails outside the attempts and carries no class of ours is our own fault. */
function failureOutside(error: unknown): Failure {
  return { class: classOf(error, 'INTERNAL'), message: messageOf(error) }
}

function isContinuation(error: unknown): boolean {
  return error instanceof Error && error.name === 'ContinueAsNew'
}
