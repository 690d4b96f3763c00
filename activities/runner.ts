/** The activities around one job: checked, resolved, started, waited for, collected, stopped. All find the job by its key. */
import { ApplicationFailure, Context } from '@temporalio/activity'
import { ServiceError } from '../contracts/errors.ts'
import { modeOf, type ValidationRequest } from '../contracts/validation.ts'
import { stopGraceOf } from '../contracts/validation-budgets.ts'
import { anotherAttempt } from '../contracts/validation-verdict.ts'
import type { PlanBudgets, RunnerActivities, StoredPlan, ValidationPlan } from '../contracts/validations.ts'
import { digestModel } from '../protocols/digest.ts'
import { requestsOf } from '../protocols/examples.ts'
import { waitUntilReady } from '../protocols/readiness.ts'
import { binariesOf } from '../protocols/serving-binary.ts'
import { type StoredAttempt, untilStored } from '../records/store.ts'
import { budgeted } from './budget.ts'
import { binaryAt, type RunnerDeps, specOf, targetOf, withCandidate } from './candidate.ts'
import { heartbeating } from './heartbeat.ts'
import { makeProbeActivities } from './probes.ts'

export const requestsText = 'requests'
/** Stored for every attempt, passed or failed (specification, 7.5). */
const keptLogBytes = 1024 * 1024
const shownLogBytes = 4 * 1024

export function logsName(binary: number, attempt: number): string {
  return `logs/${binary}/${attempt}`
}

export function makeRunnerActivities(deps: RunnerDeps): RunnerActivities {
  const { validations, runners, held, leaving } = deps
  return {
    ...makeProbeActivities(deps),

    prepareValidation: (id) =>
      heartbeating(async () => {
        await untilStored(() => validations.show(id, { phase: 'preparing' }))
        const spec = await specOf(validations, id)
        await runners.require(spec.servingSpec.platform)
        const plan = await planOf(deps, spec)
        const requests = await requestsOf(spec)
        const stored: StoredPlan = { ...plan, queue: deps.queue, host: deps.host }
        await untilStored(() => validations.keepText(id, requestsText, JSON.stringify(requests)))
        await untilStored(() => validations.keepPlan(id, JSON.stringify(stored)))
        return plan
      }),

    resolveImage: ({ id, binary, budgetMs }) =>
      budgeted(budgetMs, [leaving], async ({ deadline, signal }) => {
        const spec = await specOf(validations, id)
        await untilStored(() => validations.show(id, { phase: 'pulling', binary }))
        return runners.resolveImage(binaryAt(spec, binary), spec.servingSpec.platform, deadline, signal)
      }),

    startJob: (input) =>
      heartbeating(() =>
        withCandidate(deps, input, 'starting', async ({ runner, patch }) => {
          const notAfter = new Date(input.notAfter)
          if (Date.now() > notAfter.getTime()) {
            throw ApplicationFailure.nonRetryable('the start came too late', 'PLATFORM_UNAVAILABLE')
          }
          // From now on a job may be there: whoever takes this validation over finds the attempt.
          await patch({})
          const since = performance.now()
          await runner.start({ notAfter })
          await patch({ timings: { startMs: Math.round(performance.now() - since) } })
        }),
      ),

    waitRunning: (input) =>
      budgeted(input.budgetMs, [leaving], ({ deadline, signal, spentMs }) =>
        withCandidate(deps, input, 'scheduled', async ({ runner, patch, show }) => {
          let imageDigest: string | undefined
          await runner.waitUntilRunning(deadline, {
            signal,
            onPoll(seen) {
              imageDigest = seen.imageDigest ?? imageDigest
              const detail = [seen.reason, seen.message].filter(Boolean).join(': ')
              show(detail === '' ? {} : { detail })
            },
          })
          await patch({ timings: { scheduleMs: spentMs() }, ...(imageDigest && { imageDigest }) })
          return { spentMs: spentMs() }
        }),
      ),

    waitModelReady: (input) =>
      budgeted(input.budgetMs, [leaving], ({ deadline, signal, spentMs }) =>
        withCandidate(deps, input, 'loading', async ({ runner, patch, show }) => {
          await waitUntilReady({
            target: await targetOf(runner, deadline, { signal }),
            observe: runner.observe,
            deadline,
            pollIntervalMs: input.pollIntervalMs,
            readyStreak: input.readyStreak,
            signal,
            onPoll: (seen) => show({ detail: seen.reason.slice(0, shownLogBytes) }),
          })
          await patch({ timings: { loadMs: spentMs() } })
          return { spentMs: spentMs() }
        }),
      ),

    collectJob: (input) =>
      withCandidate(deps, input, 'collecting', async ({ runner, patch }) => {
        const { binary, attempt } = input.ref
        const seen = await runner.observe().catch(() => undefined)
        const { text } = await runner.getLogs(keptLogBytes)
        const logsRef = text === null ? null : logsName(binary, attempt)
        if (text !== null && logsRef !== null) {
          await untilStored(() => validations.keepText(input.ref.workflowId, logsRef, text))
        }
        await patch({
          logsRef,
          outcome: input.outcome,
          ...(text !== null && { logsTail: text.slice(-shownLogBytes) }),
          ...(seen?.exitCode !== undefined && { exitCode: seen.exitCode }),
          ...(seen?.signal !== undefined && { signal: seen.signal }),
          ...(seen?.oomKilled !== undefined && { oomKilled: seen.oomKilled }),
          ...(seen?.peakMemoryBytes !== undefined && { peakMemoryBytes: seen.peakMemoryBytes }),
        })
      }),

    stopJob: (input) =>
      budgeted(input.budgetMs, [], ({ deadline, spentMs }) =>
        withCandidate(deps, input, 'stopping', async ({ spec, job, runner, attempt, patch }) => {
          const { gone, attempts, lastError } = await runner.stop(input.graceSeconds, deadline)
          if (gone) held.release(job.key)
          const cleanup = { gone, attempts, ...(lastError !== undefined && { lastError }) }
          await patch({ cleanup, timings: { stopMs: spentMs() } })
          if (isTriedAgain(spec, attempt)) {
            const { binary, attempt: n } = input.ref
            await untilStored(() =>
              validations.show(input.ref.workflowId, { phase: 'waiting', binary, attempt: n }),
            )
          }
          return cleanup
        }),
      ),

    digestModel: (id) =>
      heartbeating(async () => (await digestModel((await specOf(validations, id)).model)).digest),
  }
}

async function planOf(deps: RunnerDeps, spec: ValidationRequest): Promise<ValidationPlan> {
  const { digest, kind } = await digestModel(spec.model)
  const { modelName } = spec.servingSpec
  const binaries = binariesOf(spec.servingSpec, { name: modelName, version: spec.model.version })
  const query = modeOf(spec) === 'LOAD_AND_QUERY'
  await requireBaseline(deps, spec)
  return {
    modelDigest: digest,
    digestKind: kind,
    binaries: binaries.map(({ image, kind: name }) => image ?? name),
    probes: {
      requests: spec.requests.length > 0 || spec.requestSpec !== undefined,
      golden: spec.goldens.length > 0,
      load: query && spec.load !== undefined,
      memory: spec.gates.maxPeakMemoryBytes !== undefined,
    },
    budgets: budgetsOf(spec),
    retryOn: spec.validationSpec.retryOn,
  }
}

/** For whoever watches; what happens is the workflow's decision. */
function isTriedAgain({ validationSpec }: ValidationRequest, attempt: StoredAttempt | undefined): boolean {
  if (attempt?.outcome !== 'failed') return false
  const { numTries, retryOn } = validationSpec
  return anotherAttempt(attempt.errorClass ?? 'JOB_ABORTED', attempt.n, numTries, retryOn)
}

async function requireBaseline({ validations }: RunnerDeps, { gates }: ValidationRequest): Promise<void> {
  const id = gates.maxRegression?.blessing
  if (id === undefined) return
  const found = await untilStored(() => validations.blessing(id))
  if (found === undefined) {
    throw new ServiceError('CONFIG_INVALID', 'gates.maxRegression.blessing: there is no such blessing')
  }
}

function budgetsOf({ validationSpec: given, servingSpec }: ValidationRequest): PlanBudgets {
  return {
    numTries: given.numTries,
    loadingMs: given.maxLoadingTimeSeconds * 1000,
    pullMs: given.pullTimeoutSeconds * 1000,
    pollIntervalMs: given.pollIntervalSeconds * 1000,
    readyStreak: given.readyStreak,
    requestTimeoutMs: given.requestTimeoutSeconds * 1000,
    queryMs: given.queryBudgetSeconds * 1000,
    stopGraceSeconds: stopGraceOf(servingSpec.platform.kind, given),
    stopMs: given.stopBudgetSeconds * 1000,
    firstDelayMs: given.retryDelay.initialSeconds * 1000,
    longestDelayMs: given.retryDelay.maxSeconds * 1000,
  }
}

/** Removes jobs that are over, for the reaper. */
export function makeReaperActivities(sweep: () => Promise<number>) {
  return {
    sweepJobs: () => {
      Context.current().heartbeat()
      return heartbeating(sweep)
    },
  }
}
