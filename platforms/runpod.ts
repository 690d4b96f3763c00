/**
 * Jobs on RunPod's serverless endpoints: run, status, cancel, stream. Owns their wire
 * (https://docs.runpod.io/serverless/endpoints/operation-reference); refuses retries and records.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { ServiceError } from '../contracts/errors.ts'
import { isFinalPoll } from '../contracts/jobs.ts'
import { isJsonObject, numberIn, parseJson, printJson } from '../contracts/json.ts'
import { unexpectedAnswer } from '../protocols/answer.ts'
import { callHeaders, requireSegment } from './call.ts'
import { canceled, type HttpClient, timedOut } from './http.ts'
import {
  type JobClientOptions,
  makeJobClient,
  outputMissing,
  type ProviderSettings,
  progressIn,
  providerDeadlineMs,
  providerObject,
  resultExpired,
  succeeded,
  textIn,
  unknownWord,
} from './job-client.ts'
import type { JobCall, JobHandle, JobPlatform, JobState, ModelTarget } from './platform.ts'
import { hasHeard } from './replicate.ts'

const week = 7 * 24 * 3_600_000

export function makeRunpod(
  http: HttpClient,
  settings: ProviderSettings,
  options: JobClientOptions = {},
): JobPlatform {
  const client = makeJobClient(http, settings, options)
  const awaitCancelTurn = makePacer(100, 20)
  const pathOf = (target: ModelTarget, verb: string, jobId?: string) => {
    const path = `${client.basePath}/${encodeURIComponent(requireSegment(target.upstreamName))}/${verb}`
    return jobId === undefined ? path : `${path}/${encodeURIComponent(requireSegment(jobId))}`
  }

  function stateOf(job: Record<string, unknown>): JobState {
    switch (job.status) {
      case 'IN_QUEUE':
        return { status: 'queued' }
      case 'IN_PROGRESS':
      case 'RUNNING':
        return { status: 'running', ...progressIn(job.output, undefined) }
      case 'COMPLETED':
        return job.output === undefined ? outputMissing() : succeeded(job.output, numberIn(job.executionTime))
      case 'FAILED':
        return { status: 'failed', error: client.jobFailed(job.error) }
      case 'CANCELLED':
        return { status: 'canceled', aborted: false }
      case 'TIMED_OUT':
        return { status: 'failed', error: jobTimedOut() }
      default:
        return unknownWord(job.status)
    }
  }

  async function pollJob({ jobId }: JobHandle, call: JobCall): Promise<JobState> {
    const answer = await client.send({ method: 'GET', path: pathOf(call.target, 'status', jobId) }, call)
    if (answer.status === 404 || answer.status === 410) throw resultExpired()
    if (answer.status !== 200) throw client.refusal(answer)
    return stateOf(providerObject(answer.text))
  }

  /** What came since the last look, and the job's status if the answer names one. */
  async function readChunks({ jobId }: JobHandle, call: JobCall) {
    const answer = await client.send({ method: 'GET', path: pathOf(call.target, 'stream', jobId) }, call)
    if (answer.status === 404 || answer.status === 410) throw resultExpired()
    if (answer.status !== 200) throw client.refusal(answer)
    return chunksIn(answer.text)
  }

  return {
    name: 'runpod',
    lane: 'job',
    async createJob(request) {
      const { target, inputs, remainingMs } = request
      const policy = {
        executionTimeout: Math.ceil(providerDeadlineMs(target.timeoutMs, remainingMs, 5_000, week)),
        ttl: Math.ceil(providerDeadlineMs(target.timeoutMs, remainingMs, 10_000, week)),
      }
      const answer = await client.send(
        {
          method: 'POST',
          path: pathOf(target, 'run'),
          headers: callHeaders(request).slice(2),
          body: `{"input":${inputs},"policy":${JSON.stringify(policy)}}`,
        },
        request,
      )
      if (answer.status < 200 || answer.status > 202) throw client.refusal(answer)
      const job = providerObject(answer.text)
      const jobId = textIn(job.id)
      if (jobId === undefined) throw unexpectedAnswer('the platform created a job without naming it')
      return { jobId, hints: {}, state: stateOf(job) }
    },
    pollJob,
    async cancelJob({ jobId }, call) {
      await awaitCancelTurn(call.signal)
      const answer = await client.send({ method: 'POST', path: pathOf(call.target, 'cancel', jobId) }, call)
      if (!hasHeard(answer.status)) throw client.refusal(answer)
    },
    async *streamJob(job, call) {
      const endMs = performance.now() + Math.min(call.target.timeoutMs, call.remainingMs)
      for (;;) {
        const left = { ...call, remainingMs: endMs - performance.now() }
        if (left.remainingMs <= 0) throw timedOut()
        const { pieces, state, pauseMs } = await nextChunks(job, left)
        for (const data of pieces) yield { data }
        if (state !== undefined && isOver(state)) return
        await pause(pauseMs, call.signal)
      }
    },
    async diagnose(call) {
      const answer = await client.send({ method: 'GET', path: pathOf(call.target, 'health') }, call)
      if (answer.status !== 200) throw client.refusal(answer)
      const { jobs, workers } = providerObject(answer.text)
      const counted = (of: unknown, name: string) =>
        (isJsonObject(of) ? numberIn(of[name]) : undefined) ?? 'unknown'
      return (
        `${counted(jobs, 'inQueue')} jobs in the queue, ${counted(jobs, 'inProgress')} in progress; ` +
        `workers: ${counted(workers, 'running')} running, ${counted(workers, 'idle')} idle`
      )
    },
    docs: async () => '""',
    close: () => http.close(),
  }

  /** A bad look does not end a stream: the job runs on, and the next look brings what was missed. */
  async function nextChunks(job: JobHandle, call: JobCall): Promise<Look> {
    try {
      const { pieces, status } = await readChunks(job, call)
      if (pieces.length > 0) return { pieces, pauseMs: fullPauseMs }
      // The status call alone tells the reason of an end; the bare form of the stream tells no end at all.
      const state = status === undefined ? undefined : stateOf({ status, output: null })
      if (state !== undefined && !isSettled(state)) return { pieces, state, pauseMs: emptyPauseMs }
      return { pieces, state: await pollJob(job, call), pauseMs: emptyPauseMs }
    } catch (error) {
      if (isFinalPoll(error)) throw error
      const asked = error instanceof ServiceError ? error.retryAfterMs : undefined
      return { pieces: [], pauseMs: Math.max(emptyPauseMs, asked ?? 0) }
    }
  }
}

/** One look at a stream. */
interface Look {
  pieces: string[]
  /** Of a look that found nothing new. */
  state?: JobState
  pauseMs: number
}

const emptyPauseMs = 300
const fullPauseMs = 50

function isSettled({ status }: JobState): boolean {
  return status !== 'queued' && status !== 'running'
}

/** Throws the reason of an end that is no success. */
function isOver(state: JobState): boolean {
  if (state.status === 'failed' && state.error.code !== 'provider_output_missing') throw state.error
  if (state.status === 'canceled') throw canceled()
  return isSettled(state)
}

/** `{"status","stream":[{"output"}]}`, or a bare array of `{"output"}`. */
function chunksIn(text: string): { pieces: string[]; status: unknown } {
  let answer: unknown
  try {
    answer = parseJson(text)
  } catch (cause) {
    throw unexpectedAnswer("the platform's answer is not JSON", cause)
  }
  const chunks = Array.isArray(answer) ? answer : isJsonObject(answer) ? answer.stream : undefined
  const pieces = (Array.isArray(chunks) ? chunks : []).flatMap((chunk) =>
    isJsonObject(chunk) && chunk.output !== undefined ? [pieceText(chunk.output)] : [],
  )
  return { pieces, status: isJsonObject(answer) ? answer.status : undefined }
}

function pieceText(output: unknown): string {
  return typeof output === 'string' ? output : printJson(output)
}

function jobTimedOut(): ServiceError {
  return new ServiceError('platform_timeout', 'the job ran out of time at the platform', {
    legacyCode: 20000,
  })
}

/** One turn each `everyMs` on average, `burst` of them at once: RunPod allows 100 cancels per 10 s, 20 together. */
function makePacer(everyMs: number, burst: number): (signal: AbortSignal) => Promise<void> {
  let freeAtMs = 0
  return async (signal) => {
    const nowMs = performance.now()
    freeAtMs = Math.max(freeAtMs, nowMs - everyMs * burst) + everyMs
    if (freeAtMs > nowMs) await pause(freeAtMs - nowMs, signal)
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch(() => {
    throw canceled()
  })
}
