/** `perdure recover`: after Temporal or the database came back from a backup, gives every open record a workflow again. */
import { temporalConnection, type WorkerConfig } from './config.ts'
import type { OwnershipReport } from './contracts/ownership.ts'
import { openStore } from './records/open.ts'
import { openTemporalApi } from './runtime/temporal/client.ts'
import { recoverOwners } from './runtime/temporal/ownership.ts'

/** Throws an `Error` of one line when the store or Temporal cannot be used; what was begun then may be repeated. */
export async function recover(config: WorkerConfig): Promise<OwnershipReport> {
  const { namespace, taskQueue } = config.temporal
  const store = await openStore(config.store)
  const temporal = openTemporalApi({
    connection: temporalConnection(config.temporal),
    namespace,
    taskQueue,
  })
  try {
    return await recoverOwners({ store, temporal, queue: config.queue })
  } finally {
    await temporal.close()
    await store.close()
  }
}
