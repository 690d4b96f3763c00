/**
 * The rows that a process holds, for the comparison with the calls that it makes: a crash of the database may lose a take
 * or a release. Owns no rule about who may call.
 */
import type { PredictionStatus } from '../contracts/statuses.ts'
import type { Outbox } from './outbox.ts'
import type { Dialect, Operation } from './statement.ts'
import type { HeldRow } from './store.ts'

export interface HoldAgainRequest {
  id: string
  processId: string
  token: number
}

export function makeHeldRows(dialect: Dialect, outbox: Outbox) {
  const free = dialect.prepare((db, p: { ids: string }) =>
    db
      .selectFrom('predictions')
      .select(['id', 'status'])
      .where(dialect.among('id', p.ids))
      .where('holder', 'is', null),
  )
  const held = dialect.prepare((db, p: { processId: string }) =>
    db
      .selectFrom('predictions')
      .select(['id', 'token', 'flight'])
      .where('holder', '=', p.processId)
      .where('status', '=', 'running'),
  )
  const processState = dialect.prepare((db, p: { id: string }) =>
    dialect.sharing(db.selectFrom('processes').select('state').where('id', '=', p.id)),
  )
  const forgotten = dialect.prepare((db, p: { id: string; token: number }) =>
    dialect.locking(
      db
        .selectFrom('predictions')
        .select(['id', 'status', 'webhook'])
        .where('id', '=', p.id)
        .where('status', 'in', ['pending', 'running'])
        .where('holder', 'is', null)
        // Not lower: the call itself has let it go, or a later one has.
        .where('token', '<', p.token),
    ),
  )
  const hold = dialect.prepare((db, p: { id: string; holder: string; token: number; now: number }) =>
    db
      .updateTable('predictions')
      .set((of) => ({
        status: 'running',
        holder: p.holder,
        token: p.token,
        attempts: of('attempts', '+', 1),
        started_at: of.fn.coalesce('started_at', of.val(p.now)),
        retry_at: null,
        retry_code: '',
      }))
      .where('id', '=', p.id),
  )
  const letGo = dialect.prepare((db, p: { id: string; token: number; holder: string }) =>
    db
      .updateTable('predictions')
      .set({ holder: null })
      .where('id', '=', p.id)
      .where('token', '=', p.token)
      .where('holder', '=', p.holder),
  )

  return {
    *notHeld(ids: readonly string[]): Operation<Map<string, PredictionStatus>> {
      const rows = yield* free({ ids: JSON.stringify(ids) })
      return new Map(rows.map(({ id, status }) => [id, status]))
    },

    *heldBy(processId: string): Operation<HeldRow[]> {
      const rows = yield* held({ processId })
      return rows.map(({ id, token, flight }) => ({ id, token, isDirect: flight === null }))
    },

    /** What its take wrote, once more. */
    *holdAgain({ id, processId, token }: HoldAgainRequest, now: number): Operation<boolean> {
      const [process] = yield* processState({ id: processId })
      if (process === undefined || process.state === 'dead') return false
      const [row] = yield* forgotten({ id, token })
      if (row === undefined) return false
      yield* hold({ id, holder: processId, token, now })
      if (row.status === 'pending') {
        yield* outbox.changed([id], now)
        yield* outbox.happened('start', [row], now)
      }
      return true
    },

    *letGo({ id, token, processId }: HoldAgainRequest): Operation<void> {
      yield* letGo({ id, token, holder: processId })
    },
  }
}
