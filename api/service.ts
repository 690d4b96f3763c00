/** The prediction service behind the routes: sends each request its way. Owns no state of its own. */
import { ServiceError } from '../contracts/errors.ts'
import type { Lane, PlatformName } from '../contracts/names.ts'
import { prefixOf } from '../contracts/names.ts'
import type { Store, StoredPrediction, TerminalWaiter } from '../records/store.ts'
import type { TemporalApi } from '../runtime/temporal/client.ts'
import type { DirectCalls } from './direct.ts'
import type { Flights } from './flights.ts'
import type { AcceptedRequest, PredictionService } from './predictions.ts'
import { withdrawUntaken } from './withdraw.ts'

export interface ServiceDeps {
  store: Store
  waiter: TerminalWaiter
  temporal: TemporalApi
  flights: Flights
  direct: DirectCalls
  queue: string
  taskTimeoutMs: number
  laneOf(platform: PlatformName): Lane
  /** A caller has canceled this prediction, which was open. */
  onCanceled?(id: string): void
  /** How long a sync prediction that is a flight may wait for a worker to take it up. */
  queueAllowanceMs: number
}

export function makePredictionService(deps: ServiceDeps): PredictionService {
  const { store, temporal, flights, direct, waiter, queueAllowanceMs } = deps

  /** A flight and a wait. Who waits does not wait for a place in a queue: not taken up in time, it is withdrawn. */
  async function flyAndWait(request: AcceptedRequest): Promise<StoredPrediction> {
    const { id } = await flights.submit({ ...request, sync: true })
    if ((await waiter.waitFor(id, queueAllowanceMs)) === undefined) {
      await withdrawUntaken(store, id, request)
      await waiter.waitFor(id, deps.taskTimeoutMs)
    }
    const record = await store.get(id)
    if (record === undefined) throw new ServiceError('internal', 'the record of this prediction has gone')
    return record
  }

  return {
    submit: (request) => flights.submit(request),

    predict: (request) =>
      deps.laneOf(request.target.platform) === 'call' && request.cancelAfterMs === undefined
        ? direct.predict(request)
        : flyAndWait(request),

    async waitFor(id, waitMs) {
      await waiter.waitFor(id, waitMs)
      return store.get(id)
    },

    async cancel(id) {
      const result = await store.cancel(id)
      if (result.outcome === 'canceled') deps.onCanceled?.(id)
      // A flight that waits for a timer ends sooner; what runs is told by its own process.
      if (result.outcome === 'canceled') temporal.wakeFlight(prefixOf(id)).catch(() => undefined)
      return result
    },

    redeliver: (id) => temporal.startDelivery({ id, again: true }),

    wakeQueue() {
      temporal.wakeQueue(deps.queue).catch(() => undefined)
    },

    wakeFlights(prefixes) {
      temporal.wakeFlights(prefixes).catch(() => undefined)
    },
  }
}
