/** One step of one prediction in lane `call`: take it, call the platform, end the record. Owns no waiting between steps. */
import { performance } from 'node:perf_hooks'
import { codeOf, legacyText, ServiceError } from '../contracts/errors.ts'
import type { OpenPrediction } from '../contracts/flights.ts'
import type { PlatformName } from '../contracts/names.ts'
import { retryDelayMs } from '../contracts/retry.ts'
import type { TerminalStatus } from '../contracts/statuses.ts'
import type { CallPlatform, CallResult, ModelTarget } from '../platforms/platform.ts'
import { type HeldCalls, type Store, type TakeLimits, type Taken, untilStored } from '../records/store.ts'

/** One finished platform call, for metrics. */
export interface CallEvent {
  model: string
  platform: PlatformName
  /** `ok` or an error code. */
  code: string
  runMs: number
}

export interface CallDeps {
  store: Store
  held: HeldCalls
  processId: string
  limits: TakeLimits
  /** Throws `model_unknown`. */
  resolve(modelName: string): ModelTarget
  platform(name: PlatformName): CallPlatform
  onCall?(event: CallEvent): void
}

export type Step =
  | { kind: 'ended'; status: TerminalStatus }
  /** Not now: the queue is paused, or another try is due later. */
  | { kind: 'wait'; open: OpenPrediction }
  /** Another call is under way, here or in another live process: look again. */
  | { kind: 'elsewhere'; until: Promise<unknown> | undefined }
  /** Something changed hands meanwhile: look again at once. */
  | { kind: 'again' }

const timeoutText = legacyText(
  new ServiceError('prediction_timeout', 'predict timeout', { legacyCode: 20000 }),
)

export function makeCallStep(deps: CallDeps) {
  const { store, held, processId, limits } = deps

  return async function step(id: string): Promise<Step> {
    const taken = await untilStored(() => store.take(id, processId, limits))
    switch (taken.outcome) {
      case 'taken':
        return call(id, taken)
      case 'unknown':
        // Expired, or discarded and expired: nobody is left who could ask for it.
        return { kind: 'ended', status: 'failed' }
      case 'terminal':
        return { kind: 'ended', status: taken.status }
      case 'paused':
        return { kind: 'wait', open: { id, why: 'paused', waitMs: 0 } }
      case 'waiting':
        return { kind: 'wait', open: { id, why: 'retry', waitMs: taken.retryInMs, code: taken.code } }
      case 'timed_out':
        return fail(id, taken.token, 'prediction_timeout', timeoutText)
      case 'exhausted':
        return fail(
          id,
          taken.token,
          'attempts_exhausted',
          'status 20000: gave up after too many interrupted attempts',
        )
      case 'held':
        return whileHeld(id, taken.holder)
    }
  }

  async function whileHeld(id: string, holder: string): Promise<Step> {
    if (holder !== processId) {
      const state = await untilStored(() => store.observeProcess(holder))
      return state === 'dead' ? { kind: 'again' } : { kind: 'elsewhere', until: undefined }
    }
    const joined = held.joined(id)
    if (joined !== undefined) return { kind: 'elsewhere', until: joined }
    // This process is the holder and makes no call: the answer to its `take` was lost.
    const taken = await untilStored(() => store.take(id, processId, limits, true))
    return taken.outcome === 'taken' ? call(id, taken) : { kind: 'again' }
  }

  async function call(id: string, taken: Taken): Promise<Step> {
    const hold = held.hold(id)
    const startedMs = performance.now()
    try {
      const result = await send(id, taken, hold.signal)
      const runMs = performance.now() - startedMs
      const { outputs, runningTime } = result
      const written = await untilStored(() =>
        store.transition(id, 'succeeded', { outputs, runningTime, runMs }),
      )
      return endedAs(written.status)
    } catch (error) {
      // Canceled: the record is terminal already, the next look reads how.
      if (hold.signal.aborted) return { kind: 'again' }
      return await afterFailure(id, taken, error, performance.now() - startedMs)
    } finally {
      hold.done()
    }
  }

  async function send(id: string, taken: Taken, signal: AbortSignal): Promise<CallResult> {
    const target = deps.resolve(taken.modelName)
    const startedMs = performance.now()
    const report = (code: string) =>
      deps.onCall?.({
        model: target.name,
        platform: target.platform,
        code,
        runMs: performance.now() - startedMs,
      })
    try {
      const { inputs, remainingMs } = taken
      const result = await deps.platform(target.platform).call({ id, target, inputs, signal, remainingMs })
      report('ok')
      return result
    } catch (error) {
      report(codeOf(error))
      throw error
    }
  }

  async function afterFailure(id: string, taken: Taken, error: unknown, spentMs: number): Promise<Step> {
    const code = codeOf(error)
    const waitMs = retryDelayMs(error, taken.failures + 1, Math.random())
    if (waitMs !== undefined && waitMs < taken.remainingMs - spentMs) {
      const released = await untilStored(() => store.release(id, taken.token, waitMs, code))
      return released ? { kind: 'wait', open: { id, why: 'retry', waitMs, code } } : { kind: 'again' }
    }
    const text = error instanceof ServiceError ? legacyText(error) : 'status 20000: internal error'
    return fail(id, taken.token, code, text)
  }

  async function fail(id: string, token: number, errorCode: string, errorInfo: string): Promise<Step> {
    const written = await untilStored(() => store.transition(id, 'failed', { errorCode, errorInfo }, token))
    return endedAs(written.status)
  }
}

function endedAs(status: string): Step {
  if (status === 'succeeded' || status === 'failed' || status === 'canceled') return { kind: 'ended', status }
  // The token was not the current one: another process has taken over.
  return status === 'unknown' ? { kind: 'ended', status: 'failed' } : { kind: 'again' }
}
