/** Streams of platforms that answer on the request: called by this process under its guard. Owns their records' ends. */
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { codeOf, legacyText, ServiceError } from '../contracts/errors.ts'
import { retryDelayMs } from '../contracts/retry.ts'
import type { TerminalStatus } from '../contracts/statuses.ts'
import { mostStoredText, textOutputs } from '../contracts/streamed-text.ts'
import type { CallPlatform, CallRequest, StreamPiece } from '../platforms/platform.ts'
import { type HeldCall, type Store, untilStored } from '../records/store.ts'
import { openCallSpan } from '../tracing/platform-call.ts'
import { type BeginDeps, beginDirect, type DirectBegun } from './begin-direct.ts'
import { type Generation, leftText } from './generation.ts'
import type { AcceptedRequest } from './predictions.ts'
import type { SendLater } from './send-later.ts'

export interface DirectGenerationDeps extends BeginDeps {
  store: Pick<Store, 'begin' | 'transition'>
  taskTimeoutMs: number
  /** Absent: no external record service is told of anything. */
  mirror?: SendLater | undefined
  /** This process has ended the record. */
  onEnded(id: string): void
  maxStoredLength?: number
}

type Begun = Extract<DirectBegun, { hold: HeldCall }>
type Streams = Required<Pick<CallPlatform, 'stream'>>

export function makeDirectGenerations(deps: DirectGenerationDeps) {
  const { store, taskTimeoutMs, maxStoredLength = mostStoredText } = deps

  /** Makes the record and opens the stream; only an id if an earlier request with this key stands for this one. */
  async function start(
    platform: Streams,
    request: AcceptedRequest,
  ): Promise<Generation | { earlier: string }> {
    const begun = await beginDirect(deps, request)
    if (begun.token === undefined) return { earlier: begun.id }
    request.onId?.(begun.id)
    return generate(platform, { ...request, inputs: begun.inputs }, begun)
  }

  function generate(platform: Streams, request: AcceptedRequest, { id, token, hold }: Begun): Generation {
    const { target, inputs } = request
    const left = new AbortController()
    const late = new AbortController()
    const signal = AbortSignal.any([hold.signal, left.signal, late.signal])
    // Nobody asks for the next piece of a caller that does not read on: its record ends all the same.
    const limit = setTimeout(() => {
      late.abort()
      fail(outOfTime()).catch(() => undefined)
    }, taskTimeoutMs)
    const startedMs = performance.now()
    let text = ''
    let status: TerminalStatus | undefined
    let span: ReturnType<typeof openCallSpan>['span'] | undefined
    let ending: Promise<void> | undefined

    /** The first end counts; the others wait for it. */
    function end(to: TerminalStatus, errorInfo = '', errorCode = ''): Promise<void> {
      ending ??= (async () => {
        const runMs = performance.now() - startedMs
        const fields =
          to === 'succeeded'
            ? { outputs: textOutputs(text, maxStoredLength), runningTime: (runMs / 1000).toFixed(6), runMs }
            : { errorInfo, errorCode }
        try {
          const written = await untilStored(() => store.transition(id, to, fields, token))
          status = written.changed || written.status === 'unknown' ? to : (written.status as TerminalStatus)
          if (written.changed) deps.onEnded(id)
        } finally {
          clearTimeout(limit)
          if (errorCode !== '') span?.failed(errorCode)
          span?.end()
          hold.done()
          deps.mirror?.send(id)
        }
      })()
      return ending
    }

    async function fail(thrown: unknown): Promise<never> {
      const error = late.signal.aborted ? outOfTime() : thrown
      if (left.signal.aborted) await end('canceled', leftText, 'prediction_canceled')
      else if (hold.signal.aborted) await end('canceled', '', 'prediction_canceled')
      else {
        const known = error instanceof ServiceError ? error : undefined
        await end('failed', known ? legacyText(known) : 'status 20000: internal error', codeOf(error))
      }
      if (status === 'canceled') throw new ServiceError('prediction_canceled', 'prediction was canceled')
      throw error
    }

    /** The first piece; a failure before it is repeated as that of a call. */
    async function opened(): Promise<[AsyncIterator<StreamPiece>, IteratorResult<StreamPiece>]> {
      await deps.mirror?.untilKnown(id)
      for (let failures = 1; ; failures++) {
        const remainingMs = Math.max(1, taskTimeoutMs - (performance.now() - startedMs))
        const call: CallRequest = { id, target, inputs, signal, remainingMs }
        const traced = openCallSpan(call, request.trace)
        span = traced.span
        const pieces = platform.stream(traced.request)[Symbol.asyncIterator]()
        try {
          return [pieces, await pieces.next()]
        } catch (error) {
          const waitMs = retryDelayMs(error, failures, Math.random())
          if (waitMs === undefined || waitMs >= remainingMs) throw error
          span.failed(codeOf(error))
          span.end()
          await delay(waitMs, undefined, { signal })
        }
      }
    }

    let pieces: AsyncIterator<StreamPiece> | undefined
    async function next(): Promise<IteratorResult<StreamPiece>> {
      if (pieces !== undefined) return pieces.next()
      const [opening, first] = await opened()
      pieces = opening
      return first
    }

    return {
      id,
      status: () => status ?? 'failed',
      async next() {
        const result = await next().catch(fail)
        if (result.done) {
          await end('succeeded')
          return undefined
        }
        if (text.length < maxStoredLength) text += result.value.data
        return result.value.data
      },
      async abandon() {
        left.abort()
        await end('canceled', leftText, 'prediction_canceled')
        await pieces?.return?.()
      },
    }
  }

  return { start }
}

function outOfTime(): ServiceError {
  return new ServiceError('prediction_timeout', 'predict timeout', { legacyCode: 20000 })
}
