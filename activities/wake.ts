/** The activity of a queue's wake-up: signals one page of the flights that wait in the queue. Ends nothing. */
import type { WakeActivities } from '../contracts/flights.ts'
import type { Store } from '../records/store.ts'
import type { TemporalApi } from '../runtime/temporal/client.ts'
import { heartbeating } from './heartbeat.ts'

const wokenTogether = 500

export interface WakeDeps {
  store: Pick<Store, 'waitingFlights'>
  temporal: Pick<TemporalApi, 'wakeFlights'>
}

export function makeWakeActivities({ store, temporal }: WakeDeps): WakeActivities {
  return {
    wakeWaiting: (queue, after) =>
      heartbeating(async () => {
        const { prefixes, next } = await store.waitingFlights(queue, after, wokenTogether)
        await temporal.wakeFlights(prefixes)
        return next === undefined ? {} : { next }
      }),
  }
}
