/** Collects writes by turn of the event loop and retries them until their deadline. Knows no database. */
import { setTimeout as delay } from 'node:timers/promises'
import { type Engine, type Entry, fitting, storeUnavailable } from './group.ts'
import { isInDoubt } from './in-doubt.ts'
import type { Tell } from './transaction.ts'

export interface WriteQueueRules {
  deadlineMs: number
  /** Bounds how long one transaction holds its locks, and the event loop where it blocks; so do `largestGroupBytes`. */
  largestGroup: number
  /** Groups under way at the same time. */
  parallel: number
  /** One transaction; throws with nothing written, or a `CommitInDoubt`: then repeating is safe. */
  commit(group: readonly Entry[]): Tell[] | Promise<Tell[]>
  isPassing(error: unknown): boolean
}

/** Of one transaction, or a single write that is larger. */
const largestGroupBytes = 16 * 1024 * 1024

export const firstPauseMs = 2
export const longestPauseMs = 50

export function makeWriteQueue(rules: WriteQueueRules): Pick<Engine, 'write' | 'close'> {
  let waiting: Entry[] = []
  let scheduled = false
  let running = 0
  let pauseMs = firstPauseMs
  let closed = false
  let lastFailure: unknown

  function flush(): void {
    scheduled = false
    dropLate()
    // A commit that fails at once has scheduled the next try.
    while (!scheduled && running < rules.parallel && waiting.length > 0) {
      const size = fitting(waiting.slice(0, rules.largestGroup), largestGroupBytes)
      void commit(waiting.splice(0, size))
    }
  }

  async function commit(group: Entry[]): Promise<void> {
    running++
    try {
      const tells = await rules.commit(group)
      pauseMs = firstPauseMs
      lastFailure = undefined
      for (const tell of tells) tell()
      running--
      if (waiting.length > 0) flushSoon()
    } catch (error) {
      running--
      if (!rules.isPassing(error)) {
        for (const entry of group)
          entry.reject(entry.doubt === undefined ? error : storeUnavailable(entry.doubt))
        if (waiting.length > 0) flushSoon()
        return
      }
      if (isInDoubt(error)) for (const entry of group) entry.doubt = error
      waiting = [...group, ...waiting]
      lastFailure = error
      dropLate()
      flushLater()
    }
  }

  function dropLate(): void {
    const now = performance.now()
    if (waiting.every((entry) => entry.deadline > now)) return
    const late = waiting.filter((entry) => entry.deadline <= now)
    waiting = waiting.filter((entry) => entry.deadline > now)
    for (const entry of late) entry.reject(storeUnavailable(entry.doubt ?? lastFailure))
  }

  function flushSoon(): void {
    // After the callbacks of this turn: whatever they ask becomes one transaction.
    if (!scheduled) setImmediate(flush)
    scheduled = true
  }

  function flushLater(): void {
    if (waiting.length === 0 || scheduled) return
    scheduled = true
    setTimeout(flush, pauseMs * (0.5 + Math.random()))
    pauseMs = Math.min(longestPauseMs, pauseMs * 2)
  }

  return {
    write(kind, request) {
      if (closed) return Promise.reject(storeUnavailable())
      return new Promise((resolve, reject) => {
        const deadline = performance.now() + rules.deadlineMs
        const bytes = bytesOf(request)
        waiting.push({ kind, request, bytes, deadline, resolve: resolve as Entry['resolve'], reject })
        flushSoon()
      })
    },

    async close() {
      closed = true
      while (waiting.length > 0 || running > 0) await delay(firstPauseMs)
    },
  }
}

/** Of all texts of a request. */
function bytesOf(part: unknown): number {
  if (typeof part === 'string') return Buffer.byteLength(part)
  if (typeof part !== 'object' || part === null) return 0
  let bytes = 0
  for (const inner of Object.values(part)) bytes += bytesOf(inner)
  return bytes
}

/** Repeats a read until it works or the deadline has passed. */
export async function retryRead<Result>(
  rules: Pick<WriteQueueRules, 'deadlineMs' | 'isPassing'>,
  read: () => Result | Promise<Result>,
): Promise<Result> {
  const deadline = performance.now() + rules.deadlineMs
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(longestPauseMs, pauseMs * 2)) {
    try {
      return await read()
    } catch (error) {
      if (!rules.isPassing(error)) throw error
      if (performance.now() + pauseMs > deadline) throw storeUnavailable(error)
    }
    await delay(pauseMs)
  }
}
