/** Jobs at providers, one per prediction: begun, created, to be canceled, heard. Owns their rows; calls nobody. */
import { isTerminal } from '../contracts/statuses.ts'
import type { Dialect, Operation } from './statement.ts'
import type { CancelDue, JsonText, StoredJob } from './store.ts'

export type Jobs = ReturnType<typeof makeJobs>

export function makeJobs(dialect: Dialect) {
  const current = dialect.prepare((db, p: { id: string }) =>
    dialect.locking(db.selectFrom('predictions').select(['status', 'token']).where('id', '=', p.id)),
  )
  const begin = dialect.prepare((db, p: { id: string }) =>
    db
      .insertInto('jobs')
      .values({ id: p.id, creates: 1, handle: null, cancel_due: 0 })
      .onConflict((on) => on.column('id').doUpdateSet((of) => ({ creates: of('jobs.creates', '+', 1) }))),
  )
  const refused = dialect.prepare((db, p: { id: string }) =>
    db
      .updateTable('jobs')
      .set((of) => ({ creates: of('creates', '-', 1) }))
      .where('id', '=', p.id),
  )
  const keep = dialect.prepare((db, p: { id: string; handle: string; due: number }) =>
    db.updateTable('jobs').set({ handle: p.handle, cancel_due: p.due }).where('id', '=', p.id),
  )
  const due = dialect.prepare((db, p: { ids: string }) =>
    db.updateTable('jobs').set({ cancel_due: 1 }).where(dialect.among('id', p.ids)),
  )
  const heard = dialect.prepare((db, p: { id: string }) =>
    db.updateTable('jobs').set({ cancel_due: 0 }).where('id', '=', p.id),
  )
  const one = dialect.prepare((db, p: { id: string }) =>
    db.selectFrom('jobs').select(['creates', 'handle']).where('id', '=', p.id),
  )
  const dueAmong = dialect.prepare((db, p: { ids: string }) =>
    db
      .selectFrom('jobs')
      .innerJoin('predictions', 'predictions.id', 'jobs.id')
      .select(['jobs.id', 'handle', 'model_name'])
      .where('cancel_due', '=', 1)
      .where(dialect.among('jobs.id', p.ids)),
  )

  return {
    /** A creation is about to be sent. False if this call is no longer the current one. */
    *begin(id: string, token: number): Operation<boolean> {
      const [row] = yield* current({ id })
      if (row === undefined || row.status !== 'running' || row.token !== token) return false
      yield* begin({ id })
      return true
    },

    /** The provider has certainly not created it: this creation counts no more. */
    *refused(id: string): Operation<void> {
      yield* refused({ id })
    },

    /** The provider's answer. A job that arrives after its prediction was canceled is to be canceled likewise. */
    *created(id: string, handle: JsonText): Operation<void> {
      const [row] = yield* current({ id })
      const over = row !== undefined && isTerminal(row.status) && row.status !== 'succeeded'
      yield* keep({ id, handle, due: over ? 1 : 0 })
    },

    /** Their predictions ended while the jobs may run on. A prediction without a job is left alone. */
    *cancelDue(ids: readonly string[]): Operation<void> {
      yield* due({ ids: JSON.stringify(ids) })
    },

    *heard(id: string): Operation<void> {
      yield* heard({ id })
    },

    *of(id: string): Operation<StoredJob | undefined> {
      const [row] = yield* one({ id })
      return row === undefined ? undefined : { creates: row.creates, handle: row.handle }
    },

    *dueAmong(ids: readonly string[]): Operation<CancelDue[]> {
      const rows = yield* dueAmong({ ids: JSON.stringify(ids) })
      return rows.map((row) => ({ id: row.id, modelName: row.model_name, handle: row.handle }))
    },
  }
}
