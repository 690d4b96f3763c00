/** Sends sample requests and goldens to a ready model, one after the other, inside the query budget. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Dispatcher } from 'undici'
import type { ServiceError } from '../contracts/errors.ts'
import type { GoldenResult, Observation, RequestResults } from '../contracts/validation-record.ts'
import type { Golden, ProbeRequest } from '../contracts/validation-requests.ts'
import type { FailureClass } from '../contracts/validation-verdict.ts'
import { type Deadline, deadlineIn, pollPauseMs, sleepWithin } from './deadline.ts'
import { compareGolden } from './golden.ts'
import type { Output, ProbeTarget } from './probe.ts'
import { exchange, makePool, poll } from './probe-http.ts'
import { probes } from './probes.ts'
import { deathOf } from './readiness.ts'

/** A golden whose request has passed the schema of its kind. */
export type ReadyGolden = Omit<Golden, 'request'> & { request: ProbeRequest }

export interface QueryPhase {
  target: ProbeTarget
  observe: () => Promise<Observation>
  /** The query budget: covers requests, goldens and load together. */
  deadline: Deadline
  requestTimeoutMs: number
  signal?: AbortSignal
  onProgress?: (done: number, of: number) => void
}

/** Why the phase failed the attempt; absent: it passed. Results are there in both cases. */
export interface PhaseFailure {
  class: FailureClass
  message: string
}

export type Sent =
  | { ok: true; ms: number; outputs: Record<string, Output>; text: string }
  | {
      ok: false
      ms: number
      error: 'bad' | 'busy' | 'timeout' | 'transport'
      status?: number
      message: string
    }

const firstBusyPauseMs = 10
const longestBusyPauseMs = 500
/** A timer counts from the start of its turn of the event loop: a limit may fire this much before the budget's end. */
const earlyMs = 50
/** A kubelet tells of an end seconds after it; an engine or a process table at once, unless the machine is busy. */
const explainedWithinMs = 15_000
const longestLookPauseMs = 500

/** One request to its answer; a busy server (Cog's 409) is asked again until the time limit. Throws only on `signal`. */
export async function sendRequest(
  phase: Pick<QueryPhase, 'target' | 'deadline' | 'requestTimeoutMs' | 'signal'>,
  request: ProbeRequest,
  id: string,
  dispatcher: Dispatcher,
): Promise<Sent> {
  const probe = probes[phase.target.binary.kind]
  const call = probe.call(phase.target, request, id)
  const address = phase.target.endpoints.http ?? ''
  const since = performance.now()
  const left = () => Math.min(phase.requestTimeoutMs - (performance.now() - since), phase.deadline.leftMs())
  for (let pauseMs = firstBusyPauseMs; ; pauseMs = Math.min(longestBusyPauseMs, pauseMs * 2)) {
    const timeoutMs = Math.max(1, Math.ceil(left()))
    const seen = await exchange(address, call, { timeoutMs, signal: phase.signal, dispatcher })
    if (seen.reply === undefined) return { ok: false, ms: seen.ms, error: seen.error, message: seen.message }
    const judged = probe.judge(phase.target, seen.reply, request, id)
    if (judged.good) return { ok: true, ms: seen.ms, outputs: judged.outputs, text: seen.reply.text }
    const { kind, message } = judged
    const { status } = seen.reply
    if (kind === 'bad' || left() <= pauseMs) return { ok: false, ms: seen.ms, error: kind, status, message }
    await sleep(pauseMs, undefined, phase.signal === undefined ? {} : { signal: phase.signal })
  }
}

/** All sample requests in order; a failed one does not stop the others, a dead job or the budget's end does. */
export async function runRequests(
  phase: QueryPhase,
  requests: readonly ProbeRequest[],
): Promise<{ results: RequestResults; failure?: PhaseFailure }> {
  const results: RequestResults = { sent: 0, ok: 0, failed: [] }
  const judge = makeJudge(phase)
  const failure = await oneByOne(phase, requests, async (request, index, dispatcher) => {
    const id = request.id ?? `request-${index + 1}`
    results.sent++
    const sent = await sendRequest(phase, request, id, dispatcher)
    if (sent.ok) {
      results.ok++
      return undefined
    }
    const why = await judge(sent)
    results.failed.push({ id, ...why })
    return why
  })
  return { results, ...(failure && { failure }) }
}

/** All goldens in order, each compared with what came back. */
export async function runGoldens(
  phase: QueryPhase,
  goldens: readonly ReadyGolden[],
): Promise<{ results: GoldenResult[]; failure?: PhaseFailure }> {
  const results: GoldenResult[] = []
  const judge = makeJudge(phase)
  const failure = await oneByOne(phase, goldens, async (golden, index, dispatcher) => {
    const id = golden.id ?? `golden-${index + 1}`
    const sent = await sendRequest(phase, golden.request, id, dispatcher)
    if (!sent.ok) {
      const why = await judge(sent)
      results.push({ id, pass: false, maxAbsDiff: null, maxRelDiff: null, message: why.message })
      return why
    }
    const result = compareGolden(id, golden, sent.outputs)
    results.push(result)
    if (result.pass) return undefined
    return { class: 'GOLDEN_MISMATCH', message: `${id}: ${result.message}` }
  })
  return { results, ...(failure && { failure }) }
}

/** The first failure; after a death or the budget's end nothing more is sent. */
async function oneByOne<T>(
  phase: QueryPhase,
  items: readonly T[],
  send: (item: T, index: number, dispatcher: Dispatcher) => Promise<PhaseFailure | undefined>,
): Promise<PhaseFailure | undefined> {
  const dispatcher = makePool(1)
  let first: PhaseFailure | undefined
  try {
    for (const [index, item] of items.entries()) {
      if (phase.deadline.passed) {
        return { class: 'DEADLINE_EXCEEDED', message: `query budget spent after ${index} of ${items.length}` }
      }
      const failure = await send(item, index, dispatcher)
      first ??= failure
      phase.onProgress?.(index + 1, items.length)
      if (failure !== undefined && !isAnswer(failure.class)) return failure
    }
    return first
  } finally {
    await dispatcher.destroy()
  }
}

/** The job is alive and answered, only not well. */
function isAnswer(failure: FailureClass): boolean {
  return failure === 'QUERY_FAILED' || failure === 'GOLDEN_MISMATCH'
}

/**
 * Judges what got no good answer. A transport error may be the job's death: that comes first (specification, 7.6). A
 * connection breaks before its platform knows why, so that is asked until it says that the job has ended, or the server
 * shows that it lives, by any answer at all. One judge per phase: a server that does neither is waited for once.
 */
export function makeJudge({ target, observe, deadline, signal }: QueryPhase) {
  let patient = true

  async function deathBehind(error: 'transport' | 'timeout'): Promise<ServiceError | undefined> {
    const limit = deadlineIn(Math.min(explainedWithinMs, deadline.leftMs()))
    const since = performance.now()
    for (;;) {
      const death = await observe().then(deathOf, () => undefined)
      if (death !== undefined || error === 'timeout' || !patient) return death
      const { reply } = await poll(target.endpoints.http ?? '', { method: 'GET', path: '/' }, signal)
      if (reply !== undefined) return undefined
      if (limit.passed) patient = false
      else await sleepWithin(pollPauseMs(performance.now() - since, longestLookPauseMs), limit, signal)
    }
  }

  return async (sent: Extract<Sent, { ok: false }>): Promise<PhaseFailure> => {
    if (sent.error === 'transport' || sent.error === 'timeout') {
      const death = await deathBehind(sent.error)
      if (death !== undefined) return { class: classOf(death), message: death.message }
      if (deadline.leftMs() < earlyMs)
        return { class: 'DEADLINE_EXCEEDED', message: 'the query budget is spent' }
    }
    return { class: 'QUERY_FAILED', message: sent.message }
  }
}

function classOf(error: ServiceError): FailureClass {
  return error.code === 'OOM_KILLED' ? 'OOM_KILLED' : 'JOB_ABORTED'
}
