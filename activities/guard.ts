/** The activities of a guard: opens, watches and settles one API process. */
import { sleep } from '@temporalio/activity'
import type { GuardActivities } from '../contracts/flights.ts'
import type { Store } from '../records/store.ts'
import { heartbeating } from './heartbeat.ts'

const lookMs = 500

/** Shown in records whose direct call died with its process. */
const interruptedText = 'status 20000: interrupted: the process that called the platform is gone'

export function makeGuardActivities(store: Store): GuardActivities {
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
      return { interrupted, flights, outboxDue: 0 }
    },

    markStarted: (prefixes) => store.markStarted(prefixes),
  }
}
