/** The activities of a guard: opens, watches and settles one API process. */
import { sleep } from '@temporalio/activity'
import type { GuardActivities } from '../contracts/flights.ts'
import type { OutboxSender, Store } from '../records/store.ts'
import { heartbeating } from './heartbeat.ts'

const lookMs = 500

/** Shown in records whose direct call died with its process. */
const interruptedText = 'status 20000: interrupted: the process that called the platform is gone'

/** Records whose messages one activity sends. */
const owedTogether = 50

export function makeGuardActivities(store: Store, outbox?: OutboxSender): GuardActivities {
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
      const { interrupted, flights } = await store.settle(processId, interruptedText)
      return { interrupted, flights, outboxDue: await sendOwed(processId) }
    },

    markStarted: (prefixes) => store.markStarted(prefixes),
  }
}
