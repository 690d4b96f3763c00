/**
 * After Temporal or the database came back from a backup: gives every open record a workflow again. Whatever has one is
 * left alone, so it may be run at any time and again. Owns no record: what the workflows find decides.
 */

import { temporalConnection, type WorkerConfig } from './config.ts'
import { openStore } from './records/open.ts'
import { openTemporalApi } from './runtime/temporal/client.ts'

export interface Recovered {
  flights: number
  guards: number
  deliveries: number
}

const startWithinMs = 30_000
const together = 20

/** Throws an `Error` of one line when the store or Temporal cannot be used; what was begun then may be repeated. */
export async function recover(config: WorkerConfig): Promise<Recovered> {
  const { namespace, taskQueue } = config.temporal
  const store = await openStore(config.store)
  const temporal = openTemporalApi({
    connection: temporalConnection(config.temporal),
    namespace,
    taskQueue,
  })
  try {
    const { flights, processes, deliveries } = await store.leftOpen()
    await inTurn(processes, (id) => temporal.startGuard(id))
    await inTurn(flights, (flight) => temporal.startFlight(flight, startWithinMs))
    await inTurn(deliveries, (id) => temporal.startDelivery({ id }))
    return { flights: flights.length, guards: processes.length, deliveries: deliveries.length }
  } finally {
    await temporal.close()
    await store.close()
  }
}

async function inTurn<Item>(items: readonly Item[], start: (item: Item) => Promise<unknown>): Promise<void> {
  for (let at = 0; at < items.length; at += together)
    await Promise.all(items.slice(at, at + together).map(start))
}
