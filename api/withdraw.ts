/** A request that waits for a flight which nobody takes up in time: what becomes of its prediction. */
import { type Store, untilStored } from '../records/store.ts'
import type { AcceptedRequest } from './predictions.ts'
import { notStarted } from './refusals.ts'

/**
 * Throws `temporal_unavailable` unless the prediction has been taken. Without a key it is ended first, so that nothing
 * runs for a caller who was refused; with one it goes on, and the same request again finds it.
 */
export async function withdrawUntaken(
  store: Pick<Store, 'get' | 'transition'>,
  id: string,
  { idempotency }: Pick<AcceptedRequest, 'idempotency'>,
): Promise<void> {
  const record = await untilStored(() => store.get(id))
  if (record?.status !== 'pending') return
  if (idempotency === undefined) {
    const fields = { errorCode: 'task_queue_failed', errorInfo: 'task queue failed' }
    const { changed } = await untilStored(() => store.transition(id, 'failed', fields, 0))
    if (!changed) return
  }
  throw notStarted()
}
