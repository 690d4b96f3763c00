/** The activities of a guard: opens, watches and settles one API process, and starts what it could not start. */
import { cancellationSignal, sleep } from '@temporalio/activity'
import type { FlightStart, GuardActivities } from '../contracts/flights.ts'
import type { OutboxSender, Store } from '../records/store.ts'
import type { TemporalApi } from '../runtime/temporal/client.ts'
import { startUnstarted } from '../runtime/temporal/unstarted.ts'
import { heartbeating } from './heartbeat.ts'

export interface GuardDeps {
  store: Store
  temporal: Pick<TemporalApi, 'startFlight' | 'wakeFlight'>
  outbox?: OutboxSender | undefined
  /** Temporal will not take this flight: a fault of ours. */
  onRefused?: ((flight: FlightStart) => void) | undefined
}

const lookMs = 500
const startTryMs = 5_000

/** Shown in records whose direct call died with its process. */
const interruptedText = 'status 20000: interrupted: the process that called the platform is gone'

/** Records whose messages one activity sends. */
const owedTogether = 50

export function makeGuardActivities({ store, temporal, outbox, onRefused }: GuardDeps): GuardActivities {
  const told = new Set<string>()

  function tellOnce(flight: FlightStart): void {
    if (told.has(flight.prefix)) return
    told.add(flight.prefix)
    onRefused?.(flight)
  }

  /** How many of the dead process's records have messages that could not be sent; the rest of many counts as one. */
  async function sendOwed(processId: string): Promise<number> {
    if (outbox === undefined) return 0
    const ids = await store.outboxOwedBy(processId, owedTogether)
    const left = await Promise.all(ids.map((id) => outbox.drain(id)))
    const unsent = left.filter((one) => one !== undefined && !one.refused).length
    return unsent === 0 && ids.length === owedTogether ? 1 : unsent
  }

  return {
    openProcess: (processId) => store.openProcess(processId),

    watchProcess: (processId) =>
      heartbeating(async () => {
        for (;;) {
          const state = await store.observeProcess(processId)
          if (state === 'dead' || state === 'unknown') return
          // Rejects when the worker shuts down; the next worker goes on watching.
          await sleep(lookMs)
        }
      }),

    async settleProcess(processId) {
      const { isAlive, interrupted } = await store.settle(processId, interruptedText)
      if (isAlive) return { alive: true, interrupted, outboxDue: 0 }
      // Those who wait for its calls need not wait for their time to look again.
      for (const prefix of await store.flightsHeldBy(processId)) {
        await temporal.wakeFlight(prefix).catch(() => undefined)
      }
      const { flights } = await store.unstarted(processId, '')
      return { interrupted, outboxDue: await sendOwed(processId), unstarted: flights.length > 0 }
    },

    startUnstarted: (processId) =>
      heartbeating(async () => ({
        refused: await startUnstarted({
          list: (after) => store.unstarted(processId, after),
          start: (flight) => temporal.startFlight(flight, startTryMs),
          onStarted: (prefixes) => store.markStarted(prefixes),
          onRefused: tellOnce,
          signal: cancellationSignal(),
        }),
      })),
  }
}
