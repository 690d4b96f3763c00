/** Streamed predictions: called by this process under its guard, their text stored when they end. Owns no framing. */
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { codeOf, legacyText, ServiceError } from '../contracts/errors.ts'
import type { PlatformName } from '../contracts/names.ts'
import { retryDelayMs } from '../contracts/retry.ts'
import type { TerminalStatus } from '../contracts/statuses.ts'
import { withUploadAddress } from '../platforms/inputs.ts'
import type { CallRequest, Platform, StreamPiece } from '../platforms/platform.ts'
import { type HeldCalls, type Store, untilStored } from '../records/store.ts'
import { makeFlightIds } from './ids.ts'
import type { AcceptedRequest } from './predictions.ts'
import { notOpen } from './refusals.ts'
import type { SendLater } from './send-later.ts'

export interface GenerationDeps {
  store: Pick<Store, 'begin' | 'transition'>
  held: HeldCalls
  processId: string
  queue: string
  taskTimeoutMs: number
  platform(name: PlatformName): Platform
  /** Absent: no external record service is told of anything. */
  mirror?: SendLater | undefined
  /** The store says that this process is dead: it must exit. */
  onDead(): void
  /** Most characters of text kept in the record. */
  maxStoredLength?: number
}

/** One streamed prediction whose first piece has come. */
export interface Generation {
  id: string
  /** The next piece; undefined at the end, when the record is terminal. Throws the `ServiceError` of a failure. */
  next(): Promise<string | undefined>
  /** Of the record, once `next` has given undefined or thrown. */
  status(): TerminalStatus
  /** The caller has left: the platform's connection is closed and the record ends `canceled`. */
  abandon(): Promise<void>
}

export interface Generations {
  /** Throws the `ServiceError` of a failure before the first piece; its record has ended then, or was never made. */
  start(request: AcceptedRequest): Promise<Generation>
}

const standardStoredLength = 10 * 2 ** 20

export function makeGenerations(deps: GenerationDeps): Generations {
  const { store, held, processId, queue, taskTimeoutMs, maxStoredLength = standardStoredLength } = deps

  async function start(request: AcceptedRequest): Promise<Generation> {
    const { target, uid } = request
    const stream = streamOf(deps.platform(target.platform))
    const id = makeFlightIds(1).ids[0]!
    const inputs = withUploadAddress(request.inputs, request.uploadAddress?.(id))
    const begun = await store.begin(
      {
        id,
        modelName: target.name,
        modelVersion: target.version,
        inputs,
        uid,
        queue,
        platform: target.platform,
      },
      processId,
    )
    if (begun.outcome === 'process_not_open') {
      if (begun.state === 'dead') deps.onDead()
      throw notOpen(begun.state)
    }
    if (begun.outcome !== 'begun') throw new ServiceError('internal', 'a new id was in use')
    const { token } = begun
    const hold = held.hold(id)
    const left = new AbortController()
    const signal = AbortSignal.any([hold.signal, left.signal])
    const startedMs = performance.now()
    let text = ''
    let status: TerminalStatus | undefined
    let ending: Promise<void> | undefined

    /** The first end counts; the others wait for it. */
    function end(to: TerminalStatus, errorInfo = '', errorCode = ''): Promise<void> {
      ending ??= (async () => {
        const runMs = performance.now() - startedMs
        const fields =
          to === 'succeeded'
            ? {
                outputs: JSON.stringify({ output: text.slice(0, maxStoredLength) }),
                runningTime: (runMs / 1000).toFixed(6),
                runMs,
              }
            : { errorInfo, errorCode }
        try {
          const written = await untilStored(() => store.transition(id, to, fields, token))
          status = written.changed || written.status === 'unknown' ? to : (written.status as TerminalStatus)
        } finally {
          hold.done()
          deps.mirror?.send(id)
        }
      })()
      return ending
    }

    async function fail(error: unknown): Promise<never> {
      if (left.signal.aborted) await end('canceled', 'client stopped listening', 'prediction_canceled')
      else if (hold.signal.aborted) await end('canceled', '', 'prediction_canceled')
      else {
        const known = error instanceof ServiceError ? error : undefined
        await end('failed', known ? legacyText(known) : 'status 20000: internal error', codeOf(error))
      }
      if (status === 'canceled') throw new ServiceError('prediction_canceled', 'prediction was canceled')
      throw error
    }

    async function opened(): Promise<{
      pieces: AsyncIterator<StreamPiece>
      first: IteratorResult<StreamPiece>
    }> {
      await deps.mirror?.untilKnown(id)
      for (let failures = 1; ; failures++) {
        const remainingMs = Math.max(1, Math.ceil(taskTimeoutMs - (performance.now() - startedMs)))
        const pieces = stream({ id, target, inputs, signal, remainingMs })[Symbol.asyncIterator]()
        try {
          return { pieces, first: await pieces.next() }
        } catch (error) {
          const waitMs = retryDelayMs(error, failures, Math.random())
          if (waitMs === undefined || waitMs >= remainingMs) throw error
          await delay(waitMs, undefined, { signal })
        }
      }
    }

    const { pieces, first } = await opened().catch(fail)
    let ahead: IteratorResult<StreamPiece> | undefined = first
    return {
      id,
      status: () => status ?? 'failed',
      async next() {
        const result: IteratorResult<StreamPiece> = ahead ?? (await pieces.next().catch(fail))
        ahead = undefined
        if (result.done) {
          await end('succeeded')
          return undefined
        }
        if (text.length < maxStoredLength) text += result.value.data
        return result.value.data
      },
      async abandon() {
        left.abort()
        await end('canceled', 'client stopped listening', 'prediction_canceled')
        await pieces.return?.()
      },
    }
  }

  return { start }
}

function streamOf(platform: Platform): (request: CallRequest) => AsyncIterable<StreamPiece> {
  if (platform.lane === 'call' && platform.stream !== undefined) return platform.stream.bind(platform)
  throw new ServiceError('platform_unsupported', 'this platform has no streams', { legacyCode: 20006 })
}
