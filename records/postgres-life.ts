/** Proof of life where processes share only a database: a counter that a thread raises, and observers who compare. */
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { ProofOfLife } from './composed-store.ts'
import { storeUnavailable } from './group.ts'

export interface BeatOptions {
  /** Between two beats, and at least between two counted looks at another process. */
  beatMs: number
  /** Looks in a row that find the same beat: then the process is dead. */
  sameLooks: number
  /** The same once a look has failed: whoever cannot reach the store may not be able to beat either. */
  sameLooksAfterFailure: number
}

export const defaultBeats: BeatOptions = { beatMs: 500, sameLooks: 6, sameLooksAfterFailure: 30 }

const unseen = -1
const firstBeatWithinMs = 30_000

interface Observation {
  beat: number
  same: number
  /** On this process's monotonic clock; no clocks of two processes are compared. */
  lookedAt: number
  hasFailed: boolean
}

/** What the thread needs to connect by itself. */
export interface BeatThreadData {
  connectionString: string
  processId: string
  beatMs: number
}

/** What the thread tells after each beat: the counters of the others. `lost`: it could not, though it once could. */
export type BeatMessage = readonly { id: string; beat: number }[] | 'lost'

export function makeBeats(connectionString: string, options: BeatOptions): ProofOfLife {
  const { beatMs, sameLooks, sameLooksAfterFailure } = options
  const seen = new Map<string, Observation>()
  const threads = new Map<string, Worker>()

  /** True once the beat was the same for long enough. */
  function look(processId: string, beat: number): boolean {
    const now = performance.now()
    const before = seen.get(processId)
    if (before === undefined || before.beat !== beat) {
      // Only a beat that moved shows that the process reaches the store again.
      const hasFailed = before?.beat === unseen && before.hasFailed
      seen.set(processId, { beat, same: 0, lookedAt: now, hasFailed })
      return false
    }
    if (now - before.lookedAt >= beatMs) {
      before.same++
      before.lookedAt = now
    }
    return before.same >= (before.hasFailed ? sameLooksAfterFailure : sameLooks)
  }

  /**
   * Looks before anybody asks, so that whoever meets a dead process's call need not begin to count then. Decides
   * nothing: a process that nobody waits for may be slow.
   */
  function lookAtAll(message: BeatMessage): void {
    if (message === 'lost') {
      for (const observation of seen.values()) observation.hasFailed = true
      return
    }
    const listed = new Set(message.map(({ id }) => id))
    for (const id of seen.keys()) if (!listed.has(id)) seen.delete(id)
    for (const { id, beat } of message) look(id, beat)
  }

  return {
    async begin() {
      // A row that is new has a whole count of looks before anybody may call it dead.
    },

    async registered(processId) {
      if (threads.has(processId)) return
      const file = import.meta.url.endsWith('.ts') ? './beat-thread.ts' : './beat-thread.js'
      const workerData: BeatThreadData = { connectionString, processId, beatMs }
      const thread = new Worker(new URL(file, import.meta.url), { workerData, execArgv: [] })
      threads.set(processId, thread)
      // From its first beat on the process can be told from a dead one.
      try {
        await once(thread, 'message', { signal: AbortSignal.timeout(firstBeatWithinMs) })
      } catch (error) {
        threads.delete(processId)
        await thread.terminate()
        throw storeUnavailable(error)
      }
      thread.on('message', lookAtAll)
      thread.unref()
    },

    async isGone(processId, beat) {
      return look(processId, beat)
    },

    lookFailed(processId) {
      const before = seen.get(processId)
      if (before !== undefined) before.hasFailed = true
      else seen.set(processId, { beat: unseen, same: 0, lookedAt: performance.now(), hasFailed: true })
    },

    async end(processId) {
      await threads.get(processId)?.terminate()
      threads.delete(processId)
    },

    async forget(processId) {
      seen.delete(processId)
    },

    async close() {
      await Promise.all([...threads.values()].map((thread) => thread.terminate()))
      threads.clear()
    },
  }
}
