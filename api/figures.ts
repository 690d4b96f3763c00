/** Mean run times of models, kept fresh in the background: the size of a flight must not wait for a query. */
import type { Store } from '../records/store.ts'

const freshMs = 2_000
/** A model nobody has seen run yet. */
const unknownRunMs = 1_000

export interface RunTimes {
  /** Milliseconds; at once, perhaps a little old. */
  meanRunMs(modelName: string): number
}

export function makeRunTimes(store: Pick<Store, 'meanRunMs'>): RunTimes {
  const known = new Map<string, { runMs: number; readMs: number }>()

  async function refresh(modelName: string): Promise<void> {
    try {
      const runMs = await store.meanRunMs(modelName)
      known.set(modelName, { runMs: runMs ?? unknownRunMs, readMs: Date.now() })
    } catch {
      // The store is away: the last figure stays, the next use asks again.
    }
  }

  return {
    meanRunMs(modelName) {
      const entry = known.get(modelName)
      if (entry !== undefined && Date.now() - entry.readMs < freshMs) return entry.runMs
      const runMs = entry?.runMs ?? unknownRunMs
      // Marked as read now, so that one refresh is under way at a time.
      known.set(modelName, { runMs, readMs: Date.now() })
      void refresh(modelName)
      return runMs
    },
  }
}
