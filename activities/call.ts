/** One step of one prediction: take it, call the platform, end the record. Owns no waiting between steps. */
import { performance } from 'node:perf_hooks'
import { codeOf, legacyText, ServiceError } from '../contracts/errors.ts'
import { type OpenPrediction, pausedMs } from '../contracts/flights.ts'
import type { Lane, PlatformName } from '../contracts/names.ts'
import type { TerminalStatus } from '../contracts/statuses.ts'
import type { ModelTarget, Platform } from '../platforms/platform.ts'
import {
  type HeldCall,
  type HeldCalls,
  type NotTaken,
  type OutboxSender,
  type Store,
  type TakeLimits,
  type Taken,
  untilStored,
} from '../records/store.ts'
import { inCallSpan } from '../tracing/platform-call.ts'
import { asMember, inSpan, type Traced, underTrace } from '../tracing.ts'
import { makeEndedLookup } from './ended.ts'
import { runJob } from './job.ts'
import { callOnce, type Outcome } from './outcome.ts'
import { type OutputFiles, withCopies } from './output-files.ts'
import { cancelAtProvider } from './provider-cancel.ts'
import { codeOfOutcome, endOfCall, endOfRecord, type Told } from './told.ts'

export interface CallDeps extends Told {
  store: Store
  held: HeldCalls
  processId: string
  limits: TakeLimits
  /** Throws `model_unknown`. */
  resolve(modelName: string, version?: string): ModelTarget
  platform(name: PlatformName): Platform
  /** Absent: nothing is mirrored, no webhook is delivered. */
  outbox?: OutboxSender
  /** Absent: files named in outputs stay where they are. */
  outputFiles?: OutputFiles
}

export type Step =
  /** `owes`: the outbox may hold messages about it. */
  | { kind: 'ended'; status: TerminalStatus; owes?: boolean; trace?: string | undefined }
  /** Not now: the queue is paused, or another try is due later. */
  | { kind: 'wait'; open: OpenPrediction }
  /** Another call is under way, here or in another live process: look again. */
  | { kind: 'elsewhere'; until: Promise<unknown> | undefined }
  /** Something changed hands meanwhile: look again at once. */
  | { kind: 'again' }

/** What is done for one prediction around a place of the process, and in it. */
export interface Steps {
  /** Before a place is taken; a step to go on with instead of a call. Absent: nothing is to be done. */
  before?(id: string): Promise<Step | undefined>
  /** In a place. */
  call(id: string): Promise<Step>
  /** Where no place was to be had: whether it has ended meanwhile, by a cancel or its deadline. */
  without(id: string): Promise<Step | undefined>
  /** Once the place is free again: an ended prediction may owe its provider a cancel, others a message. */
  after(id: string, next: Step): Promise<Step>
}

/** A provider that is away hears of a cancel when it is back: there is no hurry and no end to it. */
const cancelAgainMs = 5_000
const timeoutText = legacyText(
  new ServiceError('prediction_timeout', 'predict timeout', { legacyCode: 20000 }),
)

export function makeSteps(deps: CallDeps, lane: Lane, streamer?: string): Steps {
  const { store, held, processId, limits, outbox } = deps
  const mirrors = outbox?.mirrors ?? false
  const endedStatus = makeEndedLookup(store)

  return {
    ...(mirrors && { before: beforeWork }),
    call: takeAndCall,
    without: endedMeanwhile,
    after: settled,
  }

  async function takeAndCall(id: string): Promise<Step> {
    // Whatever Temporal delivers twice and the database forgets: one call of this process for one prediction.
    const joined = held.joined(id)
    if (joined !== undefined) return { kind: 'elsewhere', until: joined }
    const hold = held.hold(id)
    try {
      const taken = await untilStored(() => store.take(id, processId, limits))
      const next = await afterTake(id, taken, hold)
      const owes = mirrors || ('owes' in taken && taken.owes === true)
      if (!owes || next.kind !== 'ended') return next
      return { ...next, owes, trace: 'trace' in taken ? taken.trace : undefined }
    } finally {
      hold.done()
    }
  }

  async function endedMeanwhile(id: string): Promise<Step | undefined> {
    const status = await endedStatus(id)
    return status && { kind: 'ended', status, owes: true }
  }

  /** The external record service has to know a record before work on it begins. */
  async function beforeWork(id: string): Promise<Step | undefined> {
    const left = await outbox?.drain(id)
    if (left === undefined || !left.unknown) return undefined
    if (!left.refused) return { kind: 'wait', open: { id, why: 'outbox', waitMs: left.waitMs } }
    const fields = { errorCode: 'task_queue_failed', errorInfo: 'task queue failed' }
    await untilStored(() => store.transition(id, 'failed', fields, 0))
    return undefined
  }

  /** What is not told now is told when it has ended. */
  function tellSoon(id: string): void {
    outbox?.drain(id).catch(() => undefined)
  }

  async function afterTake(id: string, taken: Taken | NotTaken, hold: HeldCall): Promise<Step> {
    switch (taken.outcome) {
      case 'taken':
        // What the take changed is told while the platform works.
        if (mirrors || taken.owes) underTrace(taken.trace, () => tellSoon(id))
        return call(id, taken, hold)
      case 'unknown':
        // Expired, or discarded and expired: nobody is left who could ask for it.
        return { kind: 'ended', status: 'failed' }
      case 'terminal':
        return { kind: 'ended', status: taken.status }
      case 'overdue':
        deps.onOverdue?.((await untilStored(() => store.endOverdue([id]))).ended.length)
        return { kind: 'again' }
      case 'paused':
        return { kind: 'wait', open: { id, why: 'paused', waitMs: pausedMs(0) } }
      case 'waiting':
        return { kind: 'wait', open: { id, why: 'retry', waitMs: taken.retryInMs, code: taken.code } }
      case 'timed_out':
        return failUncalled(id, taken.token, 'prediction_timeout', timeoutText)
      case 'exhausted':
        return failUncalled(
          id,
          taken.token,
          'attempts_exhausted',
          'status 20000: gave up after too many interrupted attempts',
        )
      case 'held':
        return whileHeld(id, taken.holder, hold)
    }
  }

  async function whileHeld(id: string, holder: string, hold: HeldCall): Promise<Step> {
    if (holder !== processId) {
      const state = await untilStored(() => store.observeProcess(holder))
      return state === 'dead' ? { kind: 'again' } : { kind: 'elsewhere', until: undefined }
    }
    // This process is the holder and makes no other call: the answer to its `take` was lost.
    const taken = await untilStored(() => store.take(id, processId, limits, true))
    return taken.outcome === 'taken' ? call(id, taken, hold) : { kind: 'again' }
  }

  async function call(id: string, taken: Taken, hold: HeldCall): Promise<Step> {
    hold.took(taken.token)
    const attributes = { 'perdure.prediction.id': id, 'perdure.model': taken.modelName }
    return inSpan('prediction', { ...asMember(taken.trace), attributes }, async (span) => {
      const step = await callHeld(id, taken, hold, span)
      if (step.kind === 'ended') span.set({ 'perdure.status': step.status })
      return step
    })
  }

  async function callHeld(id: string, taken: Taken, hold: HeldCall, span: Traced): Promise<Step> {
    const startedMs = performance.now()
    try {
      const outcome = await send(id, taken, hold.signal, span).catch((error: unknown): Outcome => {
        if (hold.signal.aborted) throw error
        return { kind: 'failed', error, cancelJob: false }
      })
      const step = await write(id, taken, outcome, performance.now() - startedMs, hold.signal)
      if (outcome.kind === 'failed') span.failed(codeOfOutcome(outcome))
      const end = step.kind === 'ended' ? endOfCall(id, taken, step.status, outcome) : undefined
      if (end !== undefined) deps.onEnd?.(end)
      return step
    } catch (error) {
      // Canceled: the record is terminal already, the next look reads how.
      if (hold.signal.aborted) return { kind: 'again' }
      throw error
    } finally {
      // The connection is closed; of a job the provider has still to be told.
      if (hold.signal.aborted && lane === 'call') deps.onCancelHeard?.({ id, platform: taken.platform })
    }
  }

  async function send(id: string, taken: Taken, signal: AbortSignal, span: Traced): Promise<Outcome> {
    const target = deps.resolve(taken.modelName, taken.modelVersion)
    const platform = deps.platform(target.platform)
    const startedMs = performance.now()
    const request = { id, target, inputs: taken.inputs, signal, remainingMs: budgetMs(taken, target) }
    const { token, failures } = taken
    return inCallSpan(request, span.traceparent, async (request, callSpan) => {
      const outcome =
        platform.lane === 'call'
          ? await callOnce(platform, { ...request, remainingMs: taken.remainingMs }, failures)
          : await runJob({
              store,
              platform,
              request,
              token,
              failures,
              ...(streamer !== undefined && { streamer }),
              onNews: () => tellSoon(id),
              onUnknownWord: (word) =>
                deps.onUnknownWord?.({ id, model: target.name, platform: target.platform, word }),
            })
      const code = codeOfOutcome(outcome)
      if (outcome.kind !== 'succeeded') callSpan.failed(code)
      deps.onCall?.({
        id,
        model: target.name,
        platform: target.platform,
        code,
        runMs: performance.now() - startedMs,
        ...(outcome.kind === 'retry' && { retryInMs: outcome.waitMs }),
      })
      return outcome
    })
  }

  /** A job's time limit runs from the first start of the prediction, whoever follows it. */
  function budgetMs(taken: Taken, target: ModelTarget): number {
    return Math.min(taken.remainingMs, target.timeoutMs - taken.spentMs)
  }

  async function write(
    id: string,
    taken: Taken,
    outcome: Outcome,
    runMs: number,
    over: AbortSignal,
  ): Promise<Step> {
    switch (outcome.kind) {
      case 'succeeded': {
        const { runningTime } = outcome
        const outputs = await keepFiles(id, outcome.outputs, over)
        const written = await untilStored(() =>
          store.transition(id, 'succeeded', { outputs, runningTime, runMs }),
        )
        return endedAs(written.status)
      }
      case 'canceled': {
        const errorInfo = outcome.aborted ? "the provider's deadline passed before the start" : ''
        const fields = { errorCode: codeOfOutcome(outcome), errorInfo }
        const written = await untilStored(() => store.transition(id, 'canceled', fields, taken.token))
        return endedAs(written.status)
      }
      case 'retry': {
        const { waitMs } = outcome
        const code = codeOf(outcome.error)
        const released = await untilStored(() => store.release(id, taken.token, waitMs, code))
        return released ? { kind: 'wait', open: { id, why: 'retry', waitMs, code } } : { kind: 'again' }
      }
      case 'failed': {
        const { error, cancelJob } = outcome
        const text = error instanceof ServiceError ? legacyText(error) : 'status 20000: internal error'
        return fail(id, taken.token, codeOf(error), text, cancelJob)
      }
    }
  }

  /** Providers delete the files of an output after a while; the record is to be readable for longer. */
  async function keepFiles(id: string, outputs: string, over: AbortSignal): Promise<string> {
    const { outputFiles } = deps
    return lane === 'job' && outputFiles !== undefined ? withCopies(outputs, id, outputFiles, over) : outputs
  }

  async function fail(
    id: string,
    token: number,
    errorCode: string,
    errorInfo: string,
    cancelJob = true,
  ): Promise<Step> {
    const fields = { errorCode, errorInfo, cancelJob }
    const written = await untilStored(() => store.transition(id, 'failed', fields, token))
    return endedAs(written.status)
  }

  async function failUncalled(id: string, token: number, code: string, text: string): Promise<Step> {
    const step = await fail(id, token, code, text)
    if (step.kind !== 'ended' || step.status !== 'failed' || deps.onEnd === undefined) return step
    const end = endOfRecord(await store.get(id).catch(() => undefined), code)
    if (end !== undefined) deps.onEnd(end)
    return step
  }

  /** What an ended prediction still owes its provider and whoever is told of it. */
  async function settled(id: string, next: Step): Promise<Step> {
    if (next.kind !== 'ended' || (lane !== 'job' && !next.owes)) return next
    const [heard, left] = await Promise.all([
      lane === 'job' ? cancelAtProvider(deps, id) : true,
      next.owes ? underTrace(next.trace, () => outbox?.drain(id)) : undefined,
    ])
    if (!heard) return { kind: 'wait', open: { id, why: 'canceling', waitMs: cancelAgainMs } }
    if (left === undefined || left.refused) return next
    return { kind: 'wait', open: { id, why: 'outbox', waitMs: left.waitMs } }
  }
}

function endedAs(status: string): Step {
  if (status === 'succeeded' || status === 'failed' || status === 'canceled') return { kind: 'ended', status }
  // The token was not the current one: another process has taken over.
  return status === 'unknown' ? { kind: 'ended', status: 'failed' } : { kind: 'again' }
}
