/** What is asked of the store in one turn of the event loop: a group, one transaction. Orders it; runs nothing. */
import { ServiceError } from '../contracts/errors.ts'
import { type Operation, together } from './statement.ts'

/** One kind of write. Requests of one group that touch different keys may run together and in any order. */
export interface WriteKind<Request, Result> {
  run(requests: readonly Request[], now: number): Operation<Result[]>
  /**
   * Fills the results with what may be large. Sent in the packet of the COMMIT, read behind it: whoever is slow to take
   * it holds no lock meanwhile.
   */
  readBehind?(requests: readonly Request[], results: readonly Result[]): Operation<void>
  /** What a request touches; `all` is alone, after everything before it and before everything after it. */
  keys(request: Request): readonly string[] | 'all'
  /**
   * False: a power cut may lose it, a crash of the process may not. For what nobody outside has been told of and whose
   * loss only means that it is done again.
   */
  lasting?: false
}

export interface Engine {
  /** Atomic. Rejects with `store_unavailable` at the deadline, having written nothing unless it is `isInDoubt`. */
  write<Request, Result>(kind: WriteKind<Request, Result>, request: Request): Promise<Result>
  read<Result>(ask: () => Operation<Result>): Promise<Result>
  close(): Promise<void>
}

export interface Entry {
  kind: WriteKind<unknown, unknown>
  request: unknown
  /** Of all its texts. */
  bytes: number
  /** On the monotonic clock. */
  deadline: number
  /** A commit with it was sent and not answered. */
  doubt?: unknown
  resolve(result: unknown): void
  reject(error: unknown): void
}

/** Whether a group has a member that must survive a power cut. */
export function isLasting(group: readonly Entry[]): boolean {
  return group.some(({ kind }) => kind.lasting !== false)
}

export interface Batch {
  kind: WriteKind<unknown, unknown>
  entries: Entry[]
}

/** A kind whose requests neither read nor write what another of the group writes: they share their round trips. */
export function sideBySide<Request, Result>(
  keys: (request: Request) => readonly string[] | 'all',
  runOne: (request: Request, now: number) => Operation<Result>,
): WriteKind<Request, Result> {
  return { keys, run: (requests, now) => together(requests.map((request) => runOne(request, now))) }
}

/** A kind whose requests run one after the other: each reads what the one before it wrote. */
export function oneByOne<Request, Result>(
  keys: (request: Request) => readonly string[] | 'all',
  runOne: (request: Request, now: number) => Operation<Result>,
): WriteKind<Request, Result> {
  return {
    keys,
    *run(requests, now) {
      const results: Result[] = []
      for (const request of requests) results.push(yield* runOne(request, now))
      return results
    },
  }
}

/** The same kind, not worth waiting for the disk. */
export function soft<Request, Result>(kind: WriteKind<Request, Result>): WriteKind<Request, Result> {
  return { ...kind, lasting: false }
}

/** Batches in an order in which no request overtakes an earlier one that touches the same key. */
export function batchesOf(entries: readonly Entry[]): Batch[] {
  const batches: Batch[] = []
  let wave = new Map<WriteKind<unknown, unknown>, Batch>()
  let touched = new Set<string>()
  const newWave = () => {
    wave = new Map()
    touched = new Set()
  }
  for (const entry of entries) {
    const keys = entry.kind.keys(entry.request)
    if (keys === 'all' || keys.some((key) => touched.has(key))) newWave()
    let batch = wave.get(entry.kind)
    if (batch === undefined) {
      batch = { kind: entry.kind, entries: [] }
      wave.set(entry.kind, batch)
      batches.push(batch)
    }
    batch.entries.push(entry)
    if (keys === 'all') newWave()
    else for (const key of keys) touched.add(key)
  }
  return batches
}

/** How many of them, from the first on, weigh no more than that together: one at least. */
export function fitting(items: readonly { bytes: number }[], mostBytes: number): number {
  let bytes = 0
  const over = items.findIndex((item) => {
    bytes += item.bytes
    return bytes > mostBytes
  })
  return over === -1 ? items.length : Math.max(1, over)
}

export function storeUnavailable(cause?: unknown): ServiceError {
  return new ServiceError('store_unavailable', 'The record store cannot be reached now', { cause })
}
