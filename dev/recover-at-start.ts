/**
 * What each start of `npm start` does before its API opens: the embedded Temporal may have lost its last commits in a power
 * cut, so what was open before this start and has no workflow gets one again. Owns how long the start waits for that.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { type StartConfig, temporalConnection } from '../config.ts'
import type { Store } from '../records/store.ts'
import { makeWorkerReports, type ReportParts } from '../reports.ts'
import { openTemporalApi } from '../runtime/temporal/client.ts'
import { recoverOwners } from '../runtime/temporal/ownership.ts'

export interface RecoverParts extends ReportParts {
  store: Store
  /** When this start began, by `performance.now()`: what is newer is its own. */
  startedMs: number
}

const longestWaitMs = 5_000
const firstPauseMs = 1_000
const longestPauseMs = 30_000

/** Resolves when all has a workflow, at the latest after 5 s, and goes on behind it. What it answers ends it. */
export async function recoverAtStart(
  config: Pick<StartConfig, 'temporal' | 'queue'>,
  parts: RecoverParts,
): Promise<() => Promise<void>> {
  const { store, log, startedMs } = parts
  const { namespace, taskQueue } = config.temporal
  const connection = temporalConnection(config.temporal)
  const temporal = openTemporalApi({ connection, namespace, taskQueue })
  const stopping = new AbortController()
  const reports = makeWorkerReports(parts)

  async function recover(): Promise<void> {
    for (
      let pauseMs = firstPauseMs;
      !stopping.signal.aborted;
      pauseMs = Math.min(longestPauseMs, pauseMs * 2)
    ) {
      try {
        await recoverOwners(
          {
            store,
            temporal,
            queue: config.queue,
            onOwnerless: (one) => reports.onOwnerless({ ...one, found: 'start' }),
          },
          () => performance.now() - startedMs,
        )
        return
      } catch (error) {
        if (!stopping.signal.aborted) log.warn({ error }, 'what has no workflow could not be looked for yet')
      }
      await delay(pauseMs, undefined, { signal: stopping.signal }).catch(() => undefined)
    }
  }

  const recovered = recover()
  await Promise.race([recovered, delay(longestWaitMs, undefined, { ref: false })])
  return async () => {
    stopping.abort()
    await temporal.close()
    await recovered
  }
}
