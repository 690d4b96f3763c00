/** Which files there are, whose they are and how old. Holds no bytes. */
import type { Dialect, Operation } from './statement.ts'

export function makeFileRows(dialect: Dialect) {
  const insert = dialect.prepare((db, p: { name: string; predictionId: string; now: number }) =>
    db
      .insertInto('files')
      .values({ name: p.name, prediction_id: p.predictionId, created_at: p.now })
      .onConflict((conflict) => conflict.doNothing()),
  )
  const old = dialect.prepare((db, p: { before: number; limit: number }) =>
    db
      .selectFrom('files')
      .select('name')
      .where('created_at', '<', p.before)
      .where(({ not, exists, selectFrom }) =>
        not(
          exists(
            selectFrom('predictions').select('seq').whereRef('predictions.id', '=', 'files.prediction_id'),
          ),
        ),
      )
      .orderBy('created_at')
      .limit(p.limit),
  )
  const remove = dialect.prepare((db, p: { names: string }) =>
    db.deleteFrom('files').where(dialect.among('name', p.names)),
  )

  return {
    *add(name: string, predictionId: string, now: number): Operation<void> {
      yield* insert({ name, predictionId, now })
    },
    *old(retentionMs: number, limit: number): Operation<string[]> {
      const before = (yield* dialect.clock()) - retentionMs
      return (yield* old({ before, limit })).map((row) => row.name)
    },
    *forget(names: readonly string[]): Operation<void> {
      yield* remove({ names: JSON.stringify(names) })
    },
  }
}
