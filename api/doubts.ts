/**
 * Writes of this process whose outcome it does not know: it asks the store until it is told. Keeps ids, never inputs;
 * whose callers wait has been told 503 long before.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { Store } from '../records/store.ts'
import type { Starts } from './starts.ts'

export interface DoubtsDeps {
  store: Pick<Store, 'settleDoubt' | 'abandonBegun'>
  starts: Pick<Starts, 'leave'>
  processId: string
  /** `TASK_TYPE_NAME`. */
  queue: string
}

export interface Doubts {
  /** The flight may have been admitted, or may still be. */
  admitted(prefix: string, ids: readonly string[]): void
  /** The direct call may have begun, or may still do so. `settled`: it will never be made, and its record says so. */
  begun(id: string, settled: () => void): void
  /** Waits that long for answers; what is left then is the guard's. */
  stop(withinMs: number): Promise<void>
}

const firstPauseMs = 100
const longestPauseMs = 2_000

export function makeDoubts({ store, starts, processId, queue }: DoubtsDeps): Doubts {
  const stopping = new AbortController()
  const flights = new Map<string, readonly string[]>()
  const calls = new Map<string, () => void>()
  let asking: Promise<void> | undefined

  async function ask(): Promise<void> {
    for (let pauseMs = firstPauseMs; flights.size + calls.size > 0 && !stopping.signal.aborted; ) {
      try {
        if (flights.size > 0) await settleFlights()
        if (calls.size > 0) await settleCalls()
        pauseMs = firstPauseMs
      } catch {
        await delay(pauseMs, undefined, { signal: stopping.signal, ref: false }).catch(() => undefined)
        pauseMs = Math.min(longestPauseMs, pauseMs * 2)
      }
    }
    asking = undefined
  }

  async function settleFlights(): Promise<void> {
    const asked = [...flights]
    await store.settleDoubt(
      queue,
      asked.flatMap(([, ids]) => ids),
    )
    for (const [prefix] of asked) {
      flights.delete(prefix)
      // What was admitted and has a key flies.
      starts.leave(prefix)
    }
  }

  async function settleCalls(): Promise<void> {
    const asked = [...calls]
    await store.abandonBegun(
      processId,
      asked.map(([id]) => id),
    )
    for (const [id, settled] of asked) {
      calls.delete(id)
      settled()
    }
  }

  return {
    admitted(prefix, ids) {
      flights.set(prefix, ids)
      asking ??= ask()
    },
    begun(id, settled) {
      calls.set(id, settled)
      asking ??= ask()
    },
    async stop(withinMs) {
      await Promise.race([asking, delay(withinMs, undefined, { ref: false })])
      stopping.abort()
    },
  }
}
