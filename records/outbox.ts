/** Changes that must reach somebody outside, written in the transaction that makes them. Sends nothing. */

import type { WebhookEvent } from './deliveries.ts'
import type { DeliveryRows, Ordered } from './delivery-rows.ts'
import { leftOf } from './spans.ts'
import { type Dialect, type Operation, together } from './statement.ts'
import type { JsonText, NewPrediction, OutboxLease, OutboxRow } from './store.ts'
import type { PredictionRow } from './tables.ts'

export interface LeaseRequest {
  seq: number
  sender: string
  forMs: number
}

export type Outbox = ReturnType<typeof makeOutbox>

/** With `mirror` every creation and change of a record is written down for the external record service. */
export function makeOutbox(dialect: Dialect, deliveries: DeliveryRows, options: { mirror: boolean }) {
  const insert = dialect.prepare((db, p: { id: string; kind: string; body: string; now: number }) =>
    db.insertInto('outbox').values({ prediction_id: p.id, kind: p.kind, body: p.body, created_at: p.now }),
  )
  const records = dialect.prepare((db, p: { ids: string }) =>
    db
      .selectFrom('predictions')
      .leftJoin('prediction_outputs', 'prediction_outputs.id', 'predictions.id')
      .select(['predictions.id', 'status', 'running_time', 'error_info', 'queue_id', 'outputs'])
      .where(dialect.among('predictions.id', p.ids)),
  )
  const oldest = dialect.prepare((db, p: { ids: string }) =>
    db
      .selectFrom('outbox')
      .select(['seq', 'prediction_id', 'kind', 'body', 'created_at'])
      .where('seq', 'in', (inner) =>
        inner
          .selectFrom('outbox')
          .select((of) => of.fn.min('seq').as('seq'))
          .where(dialect.among('prediction_id', p.ids))
          .groupBy(['prediction_id', 'kind']),
      )
      .orderBy('seq'),
  )
  const leased = dialect.prepare((db, p: { seq: number }) =>
    dialect.locking(
      db.selectFrom('outbox').select(['sender', 'leased_at', 'leased_until']).where('seq', '=', p.seq),
    ),
  )
  const setLease = dialect.prepare((db, p: { seq: number; sender: string; now: number; until: number }) =>
    db
      .updateTable('outbox')
      .set({ sender: p.sender, leased_at: p.now, leased_until: p.until })
      .where('seq', '=', p.seq),
  )
  const remove = dialect.prepare((db, p: { seq: number }) => db.deleteFrom('outbox').where('seq', '=', p.seq))

  const owed = dialect.prepare((db, p: { processId: string; limit: number }) =>
    db
      .selectFrom('outbox')
      .innerJoin('predictions', 'predictions.id', 'outbox.prediction_id')
      .select('prediction_id')
      .distinct()
      .where('predictions.status', 'not in', ['pending', 'running'])
      .where('owner', '=', p.processId)
      .limit(p.limit),
  )

  return {
    /** Body: `{"call":"create","uid","task"}`, `task` as the record service's POST wants it. */
    *created(prediction: NewPrediction, status: string, queueNum: number, now: number): Operation<void> {
      if (!options.mirror) return
      const { id, modelName, modelVersion, uid } = prediction
      const task = { id, model_name: modelName, model_version: modelVersion, queue_num: queueNum, status }
      yield* insert({ id, kind: 'mirror', body: JSON.stringify({ call: 'create', uid, task }), now })
    },

    /** Body: `{"call":"update","task"}`, `task` as its PUT wants it; outputs digit for digit. */
    *changed(ids: readonly string[], now: number): Operation<void> {
      if (!options.mirror || ids.length === 0) return
      const rows = yield* records({ ids: JSON.stringify(ids) })
      yield* together(rows.map((row) => insert({ id: row.id, kind: 'mirror', body: updateBody(row), now })))
    },

    /** Body: the id of the delivery. Costs nothing where no webhook was ordered. */
    *happened(event: WebhookEvent, rows: readonly Ordered[], now: number): Operation<void> {
      const made = yield* deliveries.happened(event, rows, now)
      if (made.length === 0) return
      yield* together(
        made.map(({ predictionId: id, delivery }) =>
          insert({ id, kind: 'webhook', body: JSON.stringify(delivery), now }),
        ),
      )
    },

    *owedBy(processId: string, limit: number): Operation<string[]> {
      return (yield* owed({ processId, limit })).map((row) => row.prediction_id)
    },

    *next(predictionIds: readonly string[]): Operation<OutboxRow[]> {
      const rows = yield* oldest({ ids: JSON.stringify(predictionIds) })
      return rows.map((row) => ({
        seq: row.seq,
        predictionId: row.prediction_id,
        kind: row.kind,
        body: row.body,
        createdAt: row.created_at,
      }))
    },

    *lease({ seq, sender, forMs }: LeaseRequest, now: number): Operation<OutboxLease> {
      const [row] = yield* leased({ seq })
      if (row === undefined) return { outcome: 'gone' }
      const leftMs = leftOf(row.leased_at, row.leased_until, now)
      if (row.sender !== sender && leftMs > 0) return { outcome: 'held', leftMs }
      yield* setLease({ seq, sender, now, until: now + forMs })
      return { outcome: 'leased' }
    },

    *done(seq: number): Operation<void> {
      yield* remove({ seq })
    },
  }
}

type Changed = Pick<PredictionRow, 'id' | 'status' | 'running_time' | 'error_info' | 'queue_id'>

function updateBody({ outputs, ...task }: Changed & { outputs: JsonText | null }): JsonText {
  const known = JSON.stringify(task).slice(0, -1)
  return `{"call":"update","task":${known},"outputs":${outputs ?? 'null'}}}`
}
