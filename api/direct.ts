/** Sync predictions on platforms that answer on the request: called by this process, under its guard. No workflow. */
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { codeOf, legacyText, ServiceError } from '../contracts/errors.ts'
import type { PlatformName } from '../contracts/names.ts'
import { retryDelayMs } from '../contracts/retry.ts'
import type { PlatformCall } from '../metrics.ts'
import type { CallPlatform } from '../platforms/platform.ts'
import { type Store, type StoredPrediction, type TerminalWaiter, untilStored } from '../records/store.ts'
import { inCallSpan } from '../tracing/platform-call.ts'
import { inSpan, type Traced } from '../tracing.ts'
import { type BeginDeps, beginDirect } from './begin-direct.ts'
import type { AcceptedRequest } from './predictions.ts'
import type { SendLater } from './send-later.ts'

export interface DirectDeps extends BeginDeps {
  store: Store
  waiter: TerminalWaiter
  taskTimeoutMs: number
  platform(name: PlatformName): CallPlatform
  /** Absent: no external record service is told of anything. */
  mirror?: SendLater
  /** A request was answered with an earlier prediction. */
  onReplay?(): void
  onCall?(call: PlatformCall): void
  /** A call of this process was canceled: its connection is closed. */
  onCancelHeard?(event: { id: string; platform: PlatformName }): void
}

export interface DirectCalls {
  /** Returns the record, terminal. The call goes on when the caller has left. */
  predict(request: AcceptedRequest): Promise<StoredPrediction>
  /** Resolves when no call is under way. */
  drained(): Promise<void>
}

export function makeDirectCalls(deps: DirectDeps): DirectCalls {
  const { store } = deps
  const idle: Array<() => void> = []
  let inFlight = 0

  async function predict(request: AcceptedRequest): Promise<StoredPrediction> {
    inFlight++
    try {
      return await run(request)
    } finally {
      inFlight--
      if (inFlight === 0) for (const wake of idle.splice(0)) wake()
    }
  }

  async function run(request: AcceptedRequest): Promise<StoredPrediction> {
    const begun = await beginDirect(deps, request)
    const { id } = begun
    request.onId?.(id)
    if (begun.token === undefined) {
      // An earlier request with this key stands for this one.
      deps.onReplay?.()
      await deps.waiter.waitFor(id, deps.taskTimeoutMs)
    } else {
      const { token, inputs, hold } = begun
      try {
        await untilMirrored(id, token)
        const attributes = { 'perdure.prediction.id': id, 'perdure.model': request.target.name }
        await inSpan('prediction', { parent: request.trace, attributes }, (span) =>
          callAndRecord(id, token, { ...request, inputs }, hold.signal, span),
        )
      } finally {
        hold.done()
        deps.mirror?.send(id)
      }
    }
    const record = await untilStored(() => store.get(id))
    if (record === undefined) throw new ServiceError('internal', 'the record of this prediction has gone')
    return record
  }

  /** No work begins on a record that the external record service does not know. */
  async function untilMirrored(id: string, token: number): Promise<void> {
    try {
      await deps.mirror?.untilKnown(id)
    } catch (error) {
      const errorInfo = error instanceof Error ? error.message : ''
      const fields = { errorCode: codeOf(error), errorInfo }
      await untilStored(() => store.transition(id, 'failed', fields, token))
      throw error
    }
  }

  async function callAndRecord(
    id: string,
    token: number,
    request: AcceptedRequest,
    signal: AbortSignal,
    span: Traced,
  ) {
    const startedMs = performance.now()
    try {
      const trace = span.traceparent
      const { outputs, runningTime } = await callWithRetries(id, { ...request, trace }, signal, startedMs)
      const runMs = performance.now() - startedMs
      await untilStored(() => store.transition(id, 'succeeded', { outputs, runningTime, runMs }))
    } catch (error) {
      const errorCode = codeOf(error)
      span.failed(errorCode)
      // Canceled: the record is terminal already.
      if (signal.aborted) return deps.onCancelHeard?.({ id, platform: request.target.platform })
      const errorInfo = error instanceof ServiceError ? legacyText(error) : 'status 20000: internal error'
      await untilStored(() => store.transition(id, 'failed', { errorCode, errorInfo }, token))
    }
  }

  async function callWithRetries(
    id: string,
    { target, inputs, trace }: Pick<AcceptedRequest, 'target' | 'inputs'> & { trace: string | undefined },
    signal: AbortSignal,
    startedMs: number,
  ) {
    const platform = deps.platform(target.platform)
    for (let failures = 1; ; failures++) {
      const calledMs = performance.now()
      const remainingMs = deps.taskTimeoutMs - (calledMs - startedMs)
      const request = { id, target, inputs, signal, remainingMs }
      const told = (code: string, retryInMs?: number) =>
        deps.onCall?.({
          ...{ id, model: target.name, platform: target.platform, code },
          runMs: performance.now() - calledMs,
          ...(retryInMs !== undefined && { retryInMs }),
        })
      try {
        const result = await inCallSpan(request, trace, (traced) => platform.call(traced))
        told('ok')
        return result
      } catch (error) {
        const delayMs = retryDelayMs(error, failures, Math.random())
        const leftMs = deps.taskTimeoutMs - (performance.now() - startedMs)
        const waitMs = delayMs !== undefined && delayMs < leftMs ? delayMs : undefined
        told(codeOf(error), waitMs)
        if (waitMs === undefined) throw error
        await delay(waitMs, undefined, { signal })
      }
    }
  }

  return {
    predict,
    drained: () => (inFlight === 0 ? Promise.resolve() : new Promise((resolve) => idle.push(resolve))),
  }
}
