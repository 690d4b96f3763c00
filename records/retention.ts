/** Deletes what is old: terminal records with nothing due, their payloads and keys, flights and processes left empty. */
import { type Dialect, type Operation, together } from './statement.ts'

/** Rows of one transaction: others wait no longer than this takes. */
export const expiryChunk = 500

/** Longer than the longest schedule of tries. */
const deliveryLifetimeMs = 7 * 24 * 60 * 60 * 1000

export function makeRetention(dialect: Dialect, keyLifetimeMs: number) {
  const ended = dialect.prepare((db, p: { before: number; limit: number }) =>
    db
      .selectFrom('predictions')
      .select(['id', 'flight'])
      .where('ended_at', '<', p.before)
      .where(({ not, exists, selectFrom }) =>
        not(
          exists(selectFrom('outbox').select('seq').whereRef('outbox.prediction_id', '=', 'predictions.id')),
        ),
      )
      .where(({ not, exists, selectFrom }) =>
        not(
          exists(
            selectFrom('jobs')
              .select('jobs.id')
              .whereRef('jobs.id', '=', 'predictions.id')
              .where('cancel_due', '=', 1),
          ),
        ),
      )
      .orderBy('ended_at')
      .limit(p.limit),
  )
  const deletions = [
    dialect.prepare((db, p: { ids: string }) =>
      db.deleteFrom('prediction_inputs').where(dialect.among('id', p.ids)),
    ),
    dialect.prepare((db, p: { ids: string }) =>
      db.deleteFrom('prediction_outputs').where(dialect.among('id', p.ids)),
    ),
    dialect.prepare((db, p: { ids: string }) =>
      db.deleteFrom('idempotency_keys').where(dialect.among('prediction_id', p.ids)),
    ),
    dialect.prepare((db, p: { ids: string }) => db.deleteFrom('jobs').where(dialect.among('id', p.ids))),
    dialect.prepare((db, p: { ids: string }) =>
      db.deleteFrom('predictions').where(dialect.among('id', p.ids)),
    ),
  ]
  const emptyFlights = dialect.prepare((db, p: { prefixes: string }) =>
    db
      .deleteFrom('flights')
      .where(dialect.among('prefix', p.prefixes))
      .where(({ not, exists, selectFrom }) =>
        not(
          exists(
            selectFrom('predictions').select('seq').whereRef('predictions.flight', '=', 'flights.prefix'),
          ),
        ),
      ),
  )
  const oldKeys = dialect.prepare((db, p: { before: number }) =>
    db.deleteFrom('idempotency_keys').where('created_at', '<', p.before),
  )
  const oldDeliveries = dialect.prepare((db, p: { before: number }) =>
    db.deleteFrom('deliveries').where('created_at', '<', p.before).where('status', '!=', 'waiting'),
  )
  // Forgotten after a while: whoever orders webhooks for a dead endpoint again is told by its next 410.
  const oldEndpoints = dialect.prepare((db, p: { before: number }) =>
    db.deleteFrom('gone_endpoints').where('created_at', '<', p.before),
  )
  const oldTracking = dialect.prepare((db, p: { before: number }) =>
    db.deleteFrom('tracking_records').where('created_at', '<', p.before),
  )
  const oldProcesses = dialect.prepare((db, p: { before: number }) =>
    db
      .deleteFrom('processes')
      .where('state', '=', 'dead')
      .where('created_at', '<', p.before)
      .where(({ not, exists, selectFrom }) =>
        not(
          exists(selectFrom('predictions').select('seq').whereRef('predictions.holder', '=', 'processes.id')),
        ),
      )
      .where(({ not, exists, selectFrom }) =>
        not(
          exists(
            selectFrom('flights')
              .select('prefix')
              .whereRef('flights.process_id', '=', 'processes.id')
              .where('started', '=', 0),
          ),
        ),
      ),
  )

  return {
    /** One chunk; fewer than `expiryChunk` means that no more is due. */
    *expire(before: number, now: number): Operation<number> {
      const rows = yield* ended({ before, limit: expiryChunk })
      const ids = JSON.stringify(rows.map((row) => row.id))
      yield* together(deletions.map((deletion) => deletion({ ids })))
      const prefixes = new Set(rows.flatMap(({ flight }) => (flight === null ? [] : [flight])))
      yield* emptyFlights({ prefixes: JSON.stringify([...prefixes]) })
      if (rows.length < expiryChunk) {
        yield* oldKeys({ before: now - keyLifetimeMs })
        yield* oldDeliveries({ before: now - deliveryLifetimeMs })
        yield* oldEndpoints({ before: now - deliveryLifetimeMs })
        yield* oldTracking({ before })
        yield* oldProcesses({ before })
      }
      return rows.length
    },
  }
}
