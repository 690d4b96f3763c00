/** The activities of a guard: opens, watches and settles one API process. */
import { setTimeout as delay } from 'node:timers/promises'
import { cancellationSignal } from '@temporalio/activity'
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
        const signal = cancellationSignal()
        for (;;) {
          const state = await store.observeProcess(processId)
          if (state === 'dead' || state === 'unknown') return
          await delay(lookMs, undefined, { signal })
        }
      }),

    async settleProcess(processId) {
      const { interrupted, flights } = await store.settle(processId, interruptedText)
      return { interrupted, flights, outboxDue: 0 }
    },

    markStarted: (prefixes) => store.markStarted(prefixes),
  }
}
