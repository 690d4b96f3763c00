/**
 * Streams of jobs at a provider: a flight makes the job and answers for it, this process reads its stream and writes the
 * success. Owns no creation, failure or cancel: if this process dies, the flight goes on and the record gets the result.
 */
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { ServiceError } from '../contracts/errors.ts'
import { isFinalPoll, pollPauseMs } from '../contracts/jobs.ts'
import type { TerminalStatus } from '../contracts/statuses.ts'
import { mostStoredText, textOf, textOutputs } from '../contracts/streamed-text.ts'
import type { JobCall, JobHandle, JobPlatform, JobState } from '../platforms/platform.ts'
import { type Store, type StoredPrediction, type TerminalWaiter, untilStored } from '../records/store.ts'
import { type Generation, leftText } from './generation.ts'
import { errorOfRecord } from './outcome.ts'
import type { Accepted, AcceptedRequest } from './predictions.ts'
import { orQuiet, quiet } from './quiet.ts'
import { withdrawUntaken } from './withdraw.ts'

export interface JobGenerationDeps {
  store: Pick<Store, 'transition' | 'get' | 'jobOf'>
  waiter: TerminalWaiter
  taskTimeoutMs: number
  queueAllowanceMs: number
  submit(request: AcceptedRequest): Promise<Accepted>
  wake(id: string): void
  /** This process has ended the record. */
  onEnded(id: string): void
  maxStoredLength?: number
}

/** The flight's deadline comes first: it ends record and job, and this stream only follows. */
const marginMs = 10_000
const firstLookMs = 25
const longestLookMs = 250
/** A stream that is silent for this long is checked against the job itself: it may have ended unheard. */
const quietMs = 10_000

export function makeJobGenerations(deps: JobGenerationDeps) {
  const { store, waiter } = deps
  const longestMs = deps.taskTimeoutMs + marginMs

  async function start(
    platform: JobPlatform,
    request: AcceptedRequest,
  ): Promise<Generation | { earlier: string }> {
    const { id, earlier } = await deps.submit({ ...request, sync: true, streamed: true })
    return earlier ? { earlier: id } : generate(platform, request, id)
  }

  function generate(platform: JobPlatform, request: AcceptedRequest, id: string): Generation {
    const { target } = request
    const { maxStoredLength = mostStoredText } = deps
    const left = new AbortController()
    /** The record is terminal, by whatever hand. */
    const over = new AbortController()
    const signal = AbortSignal.any([left.signal, over.signal])
    let status: TerminalStatus | undefined
    /** What was sent, as much of it as is stored. */
    let text = ''
    let length = 0

    function sending(piece: string): string {
      if (text.length < maxStoredLength) text += piece
      length += piece.length
      return piece
    }

    async function* pieces(): AsyncGenerator<string> {
      const watched = waiter.waitFor(id, longestMs, left.signal)
      watched.then((ended) => ended && over.abort()).catch(() => undefined)
      const job = await created(id, request, left.signal)
      const startedMs = performance.now()
      const call = { target, signal, remainingMs: longestMs }
      let isBroken = false
      try {
        for await (const piece of untilSettled(platform, job, call)) yield sending(piece)
      } catch {
        if (left.signal.aborted) throw canceled()
        isBroken = true
      }
      // What the stream did not bring, the job's own result does.
      if (isBroken || length === 0) {
        const rest = restOf(await resultOf(platform, job, call, isBroken))
        if (rest !== '') yield sending(rest)
      }
      await succeed(performance.now() - startedMs)
    }

    /** What of a job's whole output has not been sent. Throws if it does not go on from what was. */
    function restOf(outputs: string | undefined): string {
      const whole = outputs === undefined ? '' : textOf(outputs)
      if (whole.startsWith(text)) return whole.slice(length)
      throw new ServiceError('platform_connection_lost', 'the stream broke off', { legacyCode: 20004 })
    }

    /** JSON text of the job's `outputs`; undefined if it has none beside its stream. Throws why it did not succeed. */
    async function resultOf(
      platform: JobPlatform,
      job: JobHandle,
      call: JobCall,
      isBroken: boolean,
    ): Promise<string | undefined> {
      const state = await pollToEnd(platform, job, call)
      if (state?.status === 'succeeded') return state.outputs
      if (state?.status === 'failed' && state.error.code === 'provider_output_missing') {
        if (isBroken) throw state.error
        return undefined
      }
      // How it ended is the flight's to say: it polls too.
      return (await endedRecord(id, longestMs, left.signal)).outputs
    }

    async function succeed(runMs: number): Promise<void> {
      const runningTime = (runMs / 1000).toFixed(6)
      const fields = { outputs: textOutputs(text, maxStoredLength), runningTime, runMs }
      const written = await untilStored(() => store.transition(id, 'succeeded', fields))
      if (written.changed) deps.onEnded(id)
      else await endedRecord(id, longestMs, left.signal)
      status = 'succeeded'
    }

    const running = pieces()
    return {
      id,
      status: () => status ?? 'failed',
      async next() {
        const { done, value } = await running.next()
        return done ? undefined : value
      },
      async abandon() {
        left.abort()
        running.return(undefined).catch(() => undefined)
        const fields = { errorInfo: leftText, errorCode: 'prediction_canceled', cancelJob: true }
        const written = await untilStored(() => store.transition(id, 'canceled', fields))
        if (!written.changed) return
        deps.onEnded(id)
        deps.wake(id)
      },
    }
  }

  /** The job, once the flight has made it. Throws why there is none. */
  async function created(id: string, request: AcceptedRequest, left: AbortSignal): Promise<JobHandle> {
    const untakenAtMs = performance.now() + deps.queueAllowanceMs
    for (let pauseMs = firstLookMs; ; pauseMs = Math.min(longestLookMs, pauseMs * 1.5)) {
      const stored = await untilStored(() => store.jobOf(id))
      if (stored?.handle) return JSON.parse(stored.handle) as JobHandle
      const ended = await waiter.waitFor(id, pauseMs, left)
      if (left.aborted) throw canceled()
      if (ended !== undefined) await endedRecord(id, 0, left)
      if (performance.now() > untakenAtMs) await withdrawUntaken(store, id, request)
    }
  }

  /** The record, succeeded; throws the error of any other end. */
  async function endedRecord(id: string, waitMs: number, left: AbortSignal): Promise<StoredPrediction> {
    await waiter.waitFor(id, waitMs, left)
    if (left.aborted) throw canceled()
    const record = await untilStored(() => store.get(id))
    if (record === undefined) throw new ServiceError('internal', 'the record of this prediction has gone')
    if (record.status !== 'succeeded') throw errorOfRecord(record)
    return record
  }

  return { start }
}

/** The stream's pieces; a silent stream of a job that has ended is broken. */
async function* untilSettled(platform: JobPlatform, job: JobHandle, call: JobCall): AsyncGenerator<string> {
  const pieces = platform.streamJob(job, call)[Symbol.asyncIterator]()
  try {
    for (;;) {
      const next = pieces.next()
      next.catch(() => undefined)
      let result = await orQuiet(next, quietMs)
      while (result === quiet) {
        const state = await platform.pollJob(job, call).catch(() => undefined)
        if (state !== undefined && isOver(state)) throw new Error('the stream is silent, its job has ended')
        result = await orQuiet(next, quietMs)
      }
      if (result.done) return
      yield result.value.data
    }
  } finally {
    void pieces.return?.().catch(() => undefined)
  }
}

/** Undefined if nothing can be learned from the job any more. */
async function pollToEnd(
  platform: JobPlatform,
  job: JobHandle,
  call: JobCall,
): Promise<JobState | undefined> {
  for (let polls = 1; !call.signal.aborted; polls++) {
    let retryAfterMs = 0
    try {
      const state = await platform.pollJob(job, call)
      if (isOver(state)) return state
    } catch (error) {
      if (isFinalPoll(error)) return undefined
      if (error instanceof ServiceError) retryAfterMs = error.retryAfterMs ?? 0
    }
    const pauseMs = pollPauseMs(polls, Math.random(), retryAfterMs)
    await delay(pauseMs, undefined, { signal: call.signal }).catch(() => undefined)
  }
  return undefined
}

function isOver({ status }: JobState): boolean {
  return status !== 'queued' && status !== 'running'
}

function canceled(): ServiceError {
  return new ServiceError('prediction_canceled', 'prediction was canceled')
}
