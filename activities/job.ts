/** Lane `job`: one job at a provider, created once, found again after a crash, polled to its end. Ends no record. */
import { setTimeout as delay } from 'node:timers/promises'
import { codeOf, ServiceError } from '../contracts/errors.ts'
import { createDelayMs, isAmbiguousCreate, isFinalPoll, pollPauseMs } from '../contracts/jobs.ts'
import { secondsText } from '../platforms/call.ts'
import type {
  CallRequest,
  JobHandle,
  JobPlatform,
  JobProgress,
  JobState,
  ModelTarget,
} from '../platforms/platform.ts'
import { type Store, untilStored } from '../records/store.ts'
import type { Outcome } from './outcome.ts'
import { behindStreamer } from './streamed.ts'

export interface JobRun {
  store: Store
  platform: JobPlatform
  request: CallRequest
  /** Names the current call in the store. */
  token: number
  /** Earlier transient failures of this prediction. */
  failures: number
  /** The API process that streams the job's text. */
  streamer?: string
  /** The provider used a status word this version does not know; told once per follower. */
  onUnknownWord?(word: string): void
  /** What the job has given is noted, and its caller is to be told of it. */
  onNews?(): void
}

/** A crash between a creation and its answer is followed by one more creation, not by two. */
const mostUnknownCreations = 2

/** Creates the job or finds the stored one, and follows it. Throws only what `request.signal` or the store throws. */
export async function runJob(run: JobRun): Promise<Outcome> {
  const { store, streamer, request } = run
  const deadlineMs = performance.now() + request.remainingMs
  const outcome = await createOrFollow(run, deadlineMs)
  if (streamer === undefined) return outcome
  return behindStreamer(outcome, { store, streamer, deadlineMs, signal: request.signal })
}

async function createOrFollow(run: JobRun, deadlineMs: number): Promise<Outcome> {
  const stored = await untilStored(() => run.store.jobOf(run.request.id))
  if (stored?.handle) return follow(run, JSON.parse(stored.handle) as JobHandle, deadlineMs)
  const unknown = stored?.creates ?? 0
  if (unknown >= mostUnknownCreations) {
    const error = new ServiceError('platform_connection_lost', 'the answer to the creation was lost twice', {
      legacyCode: 20003,
    })
    return { kind: 'failed', error, cancelJob: false }
  }
  return create(run, unknown, deadlineMs)
}

async function create(run: JobRun, unknown: number, deadlineMs: number): Promise<Outcome> {
  const { store, platform, request } = run
  // Noted first: from here on nobody may take it for granted that no job exists.
  if (!(await untilStored(() => store.beginJob(request.id, run.token)))) {
    return { kind: 'retry', error: new ServiceError('internal', 'another call has taken over'), waitMs: 0 }
  }
  const startedMs = performance.now()
  try {
    // A cancel does not cut a creation short: its answer names the job that has to be canceled.
    const { jobId, hints, state } = await platform.createJob({ ...request, signal: neverAborted })
    const handle: JobHandle = { jobId, hints }
    await untilStored(() => store.jobCreated(request.id, JSON.stringify(handle)))
    await makeNotes(run)(state.progress)
    return ended(state, startedMs) ?? (await follow(run, handle, deadlineMs))
  } catch (error) {
    if (request.signal.aborted) throw error
    const ambiguous = isAmbiguousCreate(error)
    if (!ambiguous) await untilStored(() => store.jobRefused(request.id))
    const waitMs = createDelayMs(error, run.failures + 1, ambiguous ? unknown + 1 : 0, Math.random())
    return waitMs !== undefined && performance.now() + waitMs < deadlineMs
      ? { kind: 'retry', error, waitMs }
      : { kind: 'failed', error, cancelJob: false }
  }
}

const neverAborted = new AbortController().signal

async function follow(run: JobRun, job: JobHandle, deadlineMs: number): Promise<Outcome> {
  const { platform, request } = run
  const startedMs = performance.now()
  let isWarned = false
  let isQueued = false
  const { target, signal } = request
  const note = makeNotes(run)
  const outOfTime = async () => timedOut(isQueued ? await whyQueued(platform, target) : '')
  for (let polls = 1; ; polls++) {
    let retryAfterMs = 0
    const remainingMs = deadlineMs - performance.now()
    if (remainingMs <= 0) return outOfTime()
    try {
      const state = await platform.pollJob(job, { target, signal, remainingMs })
      await note(state.progress)
      const outcome = ended(state, startedMs)
      if (outcome !== undefined) return outcome
      isQueued = state.status === 'queued'
      if (!isWarned && 'unknownWord' in state) {
        isWarned = true
        run.onUnknownWord?.(state.unknownWord)
      }
    } catch (error) {
      if (signal.aborted) throw error
      // A bad moment of a job that runs on and bills: it is polled again.
      if (codeOf(error) === 'prediction_timeout') return outOfTime()
      if (isFinalPoll(error)) return { kind: 'failed', error, cancelJob: true }
      if (error instanceof ServiceError) retryAfterMs = error.retryAfterMs ?? 0
    }
    const pauseMs = pollPauseMs(polls, Math.random(), retryAfterMs)
    await delay(Math.min(pauseMs, Math.max(0, deadlineMs - performance.now())), undefined, { signal })
  }
}

/** Keeps what a job has given so far. What cannot be written now comes again with the next look. */
function makeNotes({ store, request, token, onNews }: JobRun) {
  let known: JobProgress = {}
  return async (seen: JobProgress | undefined): Promise<void> => {
    if (seen === undefined || (seen.output === known.output && seen.logs === known.logs)) return
    try {
      if (await store.progress(request.id, token, seen)) onNews?.()
      known = seen
    } catch {
      // Not worth the prediction.
    }
  }
}

/** A provider that names no time is measured, from `startedMs` on. */
function ended(state: JobState, startedMs: number): Outcome | undefined {
  switch (state.status) {
    case 'succeeded': {
      const runningTime = state.runningTime || secondsText(performance.now() - startedMs)
      return { kind: 'succeeded', outputs: state.outputs, runningTime }
    }
    case 'failed':
      return { kind: 'failed', error: state.error, cancelJob: false }
    case 'canceled':
      return { kind: 'canceled', aborted: state.aborted }
    default:
      return undefined
  }
}

const diagnosisMs = 5_000

/** What the provider says about its queue, for a job that never started. */
async function whyQueued(platform: JobPlatform, target: ModelTarget): Promise<string> {
  const call = { target, signal: AbortSignal.timeout(diagnosisMs), remainingMs: diagnosisMs }
  const seen = await platform.diagnose?.(call).catch(() => undefined)
  return `: the job had not started at the provider${seen === undefined ? '' : ` (${seen})`}`
}

function timedOut(why: string): Outcome {
  const error = new ServiceError('prediction_timeout', `predict timeout${why}`, { legacyCode: 20000 })
  return { kind: 'failed', error, cancelJob: true }
}
