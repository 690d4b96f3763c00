/** Waits until the named model is ready while watching the job that serves it. Owns the streak and the deadline. */
import { ServiceError } from '../contracts/errors.ts'
import type { Observation } from '../contracts/validation-record.ts'
import { type Deadline, pollPauseMs, sleepWithin } from './deadline.ts'
import { jobWords } from './job-words.ts'
import type { ProbeTarget, Readiness } from './probe.ts'
import { probes } from './probes.ts'

export interface ReadyWait {
  target: ProbeTarget
  /** One look at the job; comes before every poll of the model. */
  observe: () => Promise<Observation>
  deadline: Deadline
  /** Longest pause between two polls; the first ones are closer together. */
  pollIntervalMs: number
  /** READY polls in a row that count as ready. */
  readyStreak: number
  signal?: AbortSignal
  onPoll?: (seen: Readiness) => void
}

const streakPauseMs = 50

/**
 * Returns how long it took. Throws `JOB_ABORTED` or `OOM_KILLED` when the job ends first, `MODEL_LOAD_FAILED` with the
 * server's reason, `DEADLINE_EXCEEDED` with the last thing seen. Polls at least once, also past the deadline.
 */
export async function waitUntilReady(wait: ReadyWait): Promise<{ loadMs: number }> {
  const { target, deadline, signal } = wait
  const probe = probes[target.binary.kind]
  const since = performance.now()
  let streak = 0
  for (;;) {
    await requireJob(wait.observe)
    const seen = await probe.ready(target, signal)
    wait.onPoll?.(seen)
    if (seen.status === 'UNAVAILABLE') throw new ServiceError('MODEL_LOAD_FAILED', seen.reason)
    streak = seen.status === 'READY' ? streak + 1 : 0
    if (streak >= wait.readyStreak) {
      // The last word is the job's: a server that answered and died is not ready.
      await requireJob(wait.observe)
      return { loadMs: Math.round(performance.now() - since) }
    }
    if (deadline.passed) {
      throw new ServiceError('DEADLINE_EXCEEDED', `the model is not ready in time; last: ${seen.reason}`)
    }
    const pause = pollPauseMs(performance.now() - since, wait.pollIntervalMs)
    await sleepWithin(streak > 0 ? Math.min(pause, streakPauseMs) : pause, deadline, signal)
  }
}

/** Throws the class of a job that is no longer running; API errors pass through. */
export async function requireJob(observe: () => Promise<Observation>): Promise<Observation> {
  const seen = await observe()
  const dead = deathOf(seen)
  if (dead !== undefined) throw dead
  return seen
}

/** The error of a job that has ended, if it has. */
export function deathOf(seen: Observation): ServiceError | undefined {
  if (seen.state === 'Running' || seen.state === 'Scheduled') return undefined
  return new ServiceError(seen.failure ?? 'JOB_ABORTED', jobWords(seen))
}

/**
 * Runs a probe phase and looks at the job beside it: a dead job cancels the phase and its error is thrown instead. A look
 * that fails says nothing about the job.
 */
export async function besideJob<T>(
  observe: () => Promise<Observation>,
  options: { intervalMs: number; deadline: Deadline; signal?: AbortSignal },
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const over = new AbortController()
  const outer = options.signal === undefined ? [] : [options.signal]
  let death: ServiceError | undefined
  const watching = (async () => {
    while (!over.signal.aborted) {
      death = deathOf(await observe().catch(() => ({ state: 'Running' as const })))
      if (death !== undefined) over.abort(death)
      else await sleepWithin(options.intervalMs, options.deadline, over.signal).catch(() => undefined)
      if (options.deadline.passed) return
    }
  })()
  try {
    return await run(AbortSignal.any([over.signal, ...outer]))
  } catch (error) {
    options.signal?.throwIfAborted()
    throw death ?? error
  } finally {
    over.abort()
    await watching
  }
}
