/** Deletes what is old: terminal records with nothing due, their payloads and keys, flights and processes left empty. */
import { sql } from 'kysely'
import { fitting } from './group.ts'
import { type Dialect, type Operation, together } from './statement.ts'

/** Of one transaction, whichever is reached first, one record at least: others wait no longer than this takes. */
const chunkRecords = 500
const chunkBytes = 64 * 1024 * 1024

/** Known to the database without reading them. */
const payloadBytes = sql<number>`
  coalesce((select cast(octet_length(inputs) as bigint) from prediction_inputs i where i.id = predictions.id), 0) +
  coalesce((select cast(octet_length(outputs) as bigint) + octet_length(logs) + coalesce(octet_length(partial), 0)
    from prediction_outputs o where o.id = predictions.id), 0)`

/** Longer than the longest schedule of tries. */
const deliveryLifetimeMs = 7 * 24 * 60 * 60 * 1000

export function makeRetention(dialect: Dialect, keyLifetimeMs: number) {
  const ended = dialect.prepare((db, p: { before: number; limit: number }) =>
    db
      .selectFrom('predictions')
      .select(['id', 'flight', payloadBytes.as('bytes')])
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
      // Its first try makes the body from the record; later ones send it again.
      .where(({ not, exists, selectFrom }) =>
        not(
          exists(
            selectFrom('deliveries')
              .select('deliveries.id')
              .whereRef('deliveries.prediction_id', '=', 'predictions.id')
              .where('deliveries.status', '=', 'waiting')
              .where('deliveries.body', 'is', null),
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
    /** One chunk, and whether more is due. */
    *expire(retentionMs: number, now: number): Operation<{ deleted: number; more: boolean }> {
      const before = now - retentionMs
      const due = yield* ended({ before, limit: chunkRecords })
      const rows = due.slice(0, fitting(due, chunkBytes))
      const ids = JSON.stringify(rows.map((row) => row.id))
      yield* together(deletions.map((deletion) => deletion({ ids })))
      const prefixes = new Set(rows.flatMap(({ flight }) => (flight === null ? [] : [flight])))
      yield* emptyFlights({ prefixes: JSON.stringify([...prefixes]) })
      const more = rows.length < due.length || due.length === chunkRecords
      if (!more) {
        yield* oldKeys({ before: now - keyLifetimeMs })
        yield* oldDeliveries({ before: now - deliveryLifetimeMs })
        yield* oldEndpoints({ before: now - deliveryLifetimeMs })
        yield* oldTracking({ before })
        yield* oldProcesses({ before })
      }
      return { deleted: rows.length, more }
    },
  }
}
