/** From the ids of an attempt to its job and runner, and what happened back into the store. Starts and judges nothing. */
import { ApplicationFailure } from '@temporalio/activity'
import { codeOf, ServiceError } from '../contracts/errors.ts'
import type { ValidationRequest } from '../contracts/validation.ts'
import { stopGraceOf } from '../contracts/validation-budgets.ts'
import type { RunnerState } from '../contracts/validation-record.ts'
import { failureClassOf } from '../contracts/validation-verdict.ts'
import type { AttemptInput, Progress, ValidationPhase } from '../contracts/validations.ts'
import type { ProbeTarget } from '../protocols/probe.ts'
import { binariesOf, type ServingBinary } from '../protocols/serving-binary.ts'
import { type AttemptPatch, type StoredAttempt, untilStored, type ValidationStore } from '../records/store.ts'
import { hostBound, type Job, jobOf, type Runner, type Runners, secretNamesOf } from '../runners/index.ts'
import type { HeldJobs } from './held-jobs.ts'

export interface RunnerDeps {
  validations: ValidationStore
  runners: Runners
  /** Secrets for `valueFrom.secret`, by name. */
  secret(name: string): string | undefined
  held: HeldJobs
  host: string
  /** Task queue on which these activities run; the one that reaches the same jobs again. */
  queue: string
  /** Fires, with `PLATFORM_UNAVAILABLE`, when this worker leaves and takes the jobs of its host along. */
  leaving: AbortSignal
}

export interface Candidate {
  spec: ValidationRequest
  job: Job
  runner: Runner
  attempt: StoredAttempt | undefined
  patch(patch: AttemptPatch): Promise<void>
  show(progress: Pick<Progress, 'done' | 'of' | 'detail'>): void
}

/** Failure messages in workflow history are short; the store has the whole text. */
const shownCharacters = 300
const showEveryMs = 300

/** The stored spec; it was parsed at the door. Throws `INTERNAL` for an id that the store does not know. */
export async function specOf(validations: ValidationStore, id: string): Promise<ValidationRequest> {
  const stored = await untilStored(() => validations.get(id))
  if (stored === undefined) throw new ServiceError('INTERNAL', 'the validation is not in the store')
  return JSON.parse(stored.spec)
}

export function binaryAt(spec: ValidationRequest, index: number): ServingBinary {
  const { modelName } = spec.servingSpec
  const binary = binariesOf(spec.servingSpec, { name: modelName, version: spec.model.version })[index]
  if (binary === undefined) throw new ServiceError('INTERNAL', `the spec has no binary ${index}`)
  return binary
}

/** Runs one step of an attempt with its runner; transitions and the failure, if any, are in the store afterwards. */
export async function withCandidate<T>(
  deps: RunnerDeps,
  input: AttemptInput,
  phase: ValidationPhase,
  work: (candidate: Candidate) => Promise<T>,
): Promise<T> {
  const candidate = await candidateOf(deps, input, phase)
  const deciding = phase !== 'collecting' && phase !== 'stopping'
  const { job, spec } = candidate
  // Whoever last worked on a job of its host owes it a stop, whatever start has answered.
  if (deciding && hostBound[job.platform.kind]) {
    deps.held.hold(job, stopGraceOf(job.platform.kind, spec.validationSpec))
  }
  candidate.show({})
  try {
    const result = await work(candidate)
    await candidate.patch({ transitions: [...candidate.runner.transitions] })
    return result
  } catch (error) {
    const transitions = [...candidate.runner.transitions]
    // What happens after the attempt is decided says nothing about why.
    if (isCancelled(error) || phase === 'collecting' || phase === 'stopping')
      await candidate.patch({ transitions })
    else {
      const message = error instanceof Error ? error.message : String(error)
      await candidate.patch({ transitions, errorClass: failureClassOf(error), message })
    }
    throw shortened(error, deps.leaving)
  }
}

async function candidateOf(
  deps: RunnerDeps,
  input: AttemptInput,
  phase: ValidationPhase,
): Promise<Candidate> {
  const { validations } = deps
  const { ref, modelDigest, expiresAt, host, image } = input
  const { workflowId: id, binary: index, attempt: n } = ref
  const spec = await specOf(validations, id)
  const binary = binaryAt(spec, index)
  const secrets = secretsOf(deps, binary)
  const job = jobOf(spec, binary, { ref, modelDigest, expiresAt, host, image, ...(secrets && { secrets }) })
  const attempts = await untilStored(() => validations.attempts(id))
  const attempt = attempts.find((one) => one.binary === index && one.n === n)
  const runner = deps.runners.of(job, {
    // A start that is delivered again adopts the job, whatever is known of it.
    from: phase === 'starting' ? 'Initial' : knownState(attempt?.transitions?.at(-1)?.to),
    pollIntervalMs: spec.validationSpec.pollIntervalSeconds * 1000,
  })
  let shownAt = Number.NEGATIVE_INFINITY
  return {
    spec,
    job,
    runner,
    attempt,
    patch: (patch) =>
      untilStored(() => validations.patchAttempt(id, index, n, { jobKey: job.key, ...patch })),
    show(progress) {
      const now = performance.now()
      if (now - shownAt < showEveryMs) return
      shownAt = now
      // Whoever watches may miss a step; the work does not wait for it.
      validations.show(id, { phase, binary: index, attempt: n, ...progress }).catch(() => undefined)
    },
  }
}

/** Where a probe sends its requests. Looks at the job once, and throws the class of one that has ended. */
export async function targetOf(
  runner: Runner,
  ...wait: Parameters<Runner['waitUntilRunning']>
): Promise<ProbeTarget> {
  const { endpoints } = await runner.waitUntilRunning(...wait)
  const { modelName, binary } = runner.job
  const logs = async () => (await runner.getLogs(logWindowBytes)).text
  return { endpoints, modelName, binary, logs }
}

const logWindowBytes = 64 * 1024

function secretsOf(deps: RunnerDeps, binary: ServingBinary): Record<string, string> | undefined {
  const names = secretNamesOf(binary)
  if (names.length === 0) return undefined
  return Object.fromEntries(
    names.map((name) => {
      const secret = deps.secret(name)
      if (secret !== undefined) return [name, secret]
      throw new ServiceError('CONFIG_INVALID', `servingSpec.binary.env: this worker has no secret ${name}`)
    }),
  )
}

function knownState(last: RunnerState | undefined): 'Initial' | 'Scheduled' | 'Running' {
  if (last === undefined || last === 'Initial') return 'Initial'
  return last === 'Scheduled' ? 'Scheduled' : 'Running'
}

function isCancelled(error: unknown): boolean {
  return error instanceof Error && error.name === 'CancelledFailure'
}

function shortened(error: unknown, leaving: AbortSignal): unknown {
  if (isCancelled(error) || error instanceof ApplicationFailure) return error
  const code = codeOf(error)
  const message = (error instanceof Error ? error.message : String(error)).slice(0, shownCharacters)
  // The job goes with its worker: another delivery would only find it gone.
  if (leaving.aborted && code === 'PLATFORM_UNAVAILABLE')
    return ApplicationFailure.nonRetryable(message, code)
  return new ServiceError(code, message, { cause: error })
}
