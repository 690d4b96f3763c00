/** Streamed predictions: which way each goes, its first piece, and the replay of an earlier one. Owns no framing. */
import { ServiceError } from '../contracts/errors.ts'
import type { PlatformName } from '../contracts/names.ts'
import { isTerminal, type TerminalStatus } from '../contracts/statuses.ts'
import { textOf } from '../contracts/streamed-text.ts'
import type { Platform } from '../platforms/platform.ts'
import type { HeldCalls, Store, StoredPrediction, TerminalWaiter } from '../records/store.ts'
import type { BeginDeps } from './begin-direct.ts'
import { makeDirectGenerations } from './direct-generation.ts'
import { makeJobGenerations } from './job-generation.ts'
import { errorOfRecord } from './outcome.ts'
import type { Accepted, AcceptedRequest } from './predictions.ts'
import type { SendLater } from './send-later.ts'

export interface GenerationDeps {
  store: Pick<Store, 'begin' | 'transition' | 'get' | 'jobOf'>
  held: HeldCalls
  waiter: TerminalWaiter
  processId: string
  queue: string
  taskTimeoutMs: number
  platform(name: PlatformName): Platform
  /** Sends a flight off: how a job at a provider is made. */
  submit(request: AcceptedRequest): Promise<Accepted>
  /** The flight of that prediction looks again soon. */
  wake(id: string): void
  /** How long a job may wait for a worker that creates it. */
  queueAllowanceMs: number
  /** Absent: no external record service is told of anything. */
  mirror?: SendLater | undefined
  /** The store says that this process is dead: it must exit. */
  onDead(): void
  doubts: BeginDeps['doubts']
  /** A record that this process has ended. */
  onEnd?(record: StoredPrediction & { status: TerminalStatus }): void
  /** A request was answered with an earlier prediction; `submit` tells of its own. */
  onReplay?(): void
  /** Most characters of text kept in the record; 10 Mi if absent. */
  maxStoredLength?: number
}

/** One streamed prediction. */
export interface Generation {
  id: string
  /** The next piece; undefined at the end, when the record is terminal. Throws the `ServiceError` of a failure. */
  next(): Promise<string | undefined>
  /** Of the record, once `next` has given undefined. */
  status(): TerminalStatus
  /** The caller has left: what runs upstream is ended and the record reads `canceled`. */
  abandon(): Promise<void>
}

export interface Generations {
  /**
   * Resolves with the first piece in hand. Throws the `ServiceError` of a failure before it; the record has ended then,
   * or was never made. `left` fires when the caller leaves before that.
   */
  start(request: AcceptedRequest, left?: AbortSignal): Promise<Generation>
  /** Resolves when no stream is under way. */
  drained(): Promise<void>
}

/** Inherited text of a record whose caller has left. */
export const leftText = 'client stopped listening'

export function makeGenerations(deps: GenerationDeps): Generations {
  const { store, waiter } = deps
  const own = { ...deps, onEnded: (id: string) => void tellEnd(id).catch(() => undefined) }
  const direct = makeDirectGenerations(own)
  const jobs = makeJobGenerations(own)
  const idle: Array<() => void> = []
  let open = 0

  async function begin(request: AcceptedRequest): Promise<Generation | { earlier: string }> {
    const platform = deps.platform(request.target.platform)
    if (platform.lane === 'job') return jobs.start(platform, request)
    const { stream } = platform
    if (stream === undefined) {
      throw new ServiceError('platform_unsupported', 'this platform has no streams', { legacyCode: 20006 })
    }
    const begun = await direct.start({ stream: stream.bind(platform) }, request)
    if ('earlier' in begun) deps.onReplay?.()
    return begun
  }

  async function start(request: AcceptedRequest, left?: AbortSignal): Promise<Generation> {
    const begun = await begin(request)
    if ('earlier' in begun) return replay(begun.earlier, left)
    const generation = counted(begun)
    const leave = () => void generation.abandon().catch(() => undefined)
    if (left?.aborted) leave()
    left?.addEventListener('abort', leave, { once: true })
    const first = generation.next()
    // Whoever takes the piece hears of its failure; here it only has to be waited for.
    await first.finally(() => left?.removeEventListener('abort', leave))
    return withFirst(generation, first)
  }

  /** The text of the earlier prediction in one piece, once it has ended. Leaving a replay ends nothing. */
  async function replay(id: string, left?: AbortSignal): Promise<Generation> {
    await waiter.waitFor(id, deps.taskTimeoutMs, left)
    const record = await store.get(id)
    if (record === undefined) throw new ServiceError('internal', 'the record of this prediction has gone')
    if (!isTerminal(record.status)) {
      throw new ServiceError('prediction_timeout', 'the earlier prediction with this key has not ended yet')
    }
    if (record.status !== 'succeeded') throw errorOfRecord(record)
    const pieces = [textOf(record.outputs)].filter((text) => text !== '')
    return { id, next: async () => pieces.shift(), status: () => 'succeeded', abandon: async () => undefined }
  }

  function counted(generation: Generation): Generation {
    open++
    let isOpen = true
    const close = () => {
      if (!isOpen) return
      isOpen = false
      open--
      if (open === 0) for (const wake of idle.splice(0)) wake()
    }
    return {
      ...generation,
      async next() {
        try {
          const piece = await generation.next()
          if (piece === undefined) close()
          return piece
        } catch (error) {
          close()
          throw error
        }
      },
      abandon: () => generation.abandon().finally(close),
    }
  }

  async function tellEnd(id: string): Promise<void> {
    const record = deps.onEnd && (await store.get(id))
    if (record !== undefined && isTerminal(record.status)) deps.onEnd?.({ ...record, status: record.status })
  }

  return {
    start,
    drained: () => (open === 0 ? Promise.resolve() : new Promise((resolve) => idle.push(resolve))),
  }
}

function withFirst(generation: Generation, first: Promise<string | undefined>): Generation {
  let ahead: Promise<string | undefined> | undefined = first
  return {
    ...generation,
    next() {
      const next = ahead ?? generation.next()
      ahead = undefined
      return next
    },
  }
}
