/** The rows of processes, `new → open → closing → dead`, one way. Does not know how life is proven. */
import { ServiceError } from '../contracts/errors.ts'
import type { Dialect, Operation } from './statement.ts'
import type { ProcessRole, ProcessState } from './store.ts'

export function makeProcessRows(dialect: Dialect) {
  const insert = dialect.prepare((db, p: { id: string; role: ProcessRole; now: number }) =>
    db
      .insertInto('processes')
      .values({ id: p.id, role: p.role, state: 'new', beat: 0, created_at: p.now })
      .onConflict((conflict) => conflict.doNothing())
      .returning('id'),
  )
  const open = dialect.prepare((db, p: { id: string }) =>
    db.updateTable('processes').set({ state: 'open' }).where('id', '=', p.id).where('state', '=', 'new'),
  )
  const close = dialect.prepare((db, p: { id: string }) =>
    db
      .updateTable('processes')
      .set({ state: 'closing' })
      .where('id', '=', p.id)
      .where('state', 'in', ['new', 'open']),
  )
  const die = dialect.prepare((db, p: { id: string }) =>
    db.updateTable('processes').set({ state: 'dead' }).where('id', '=', p.id).where('state', '!=', 'dead'),
  )
  const dieAt = dialect.prepare((db, p: { id: string; beat: number }) =>
    db
      .updateTable('processes')
      .set({ state: 'dead' })
      .where('id', '=', p.id)
      .where('beat', '=', p.beat)
      .where('state', '!=', 'dead'),
  )
  const find = dialect.prepare((db, p: { id: string }) =>
    db.selectFrom('processes').select(['state', 'beat']).where('id', '=', p.id),
  )

  function* state(id: string): Operation<ProcessState> {
    return (yield* find({ id }))[0]?.state ?? 'unknown'
  }

  return {
    *look(id: string): Operation<{ state: ProcessState; beat: number } | undefined> {
      return (yield* find({ id }))[0]
    },

    /** An id is used once: a row that is there already may only be this very registration, repeated. */
    *register(id: string, role: ProcessRole, now: number): Operation<void> {
      if ((yield* insert({ id, role, now })).length > 0) return
      if ((yield* state(id)) !== 'new') {
        throw new ServiceError('conflict', 'A process of this id has been registered before')
      }
    },

    *open(id: string): Operation<boolean> {
      yield* open({ id })
      return (yield* state(id)) === 'open'
    },

    *close(id: string): Operation<void> {
      yield* close({ id })
    },

    /** With `beat` only if nothing has changed since that look. Answers the state after it. */
    *die(id: string, beat?: number): Operation<ProcessState> {
      if (beat === undefined) yield* die({ id })
      else yield* dieAt({ id, beat })
      return yield* state(id)
    },
  }
}
