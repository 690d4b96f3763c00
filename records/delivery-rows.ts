/** Rows of user webhooks: written with the change they tell of, counted try by try. Sends nothing. */
import { randomBytes } from 'node:crypto'
import type { Selectable } from 'kysely'
import type {
  DeliveryStore,
  DeliveryTable,
  DeliveryTry,
  StoredDelivery,
  WebhookEvent,
  WebhookOrder,
} from './deliveries.ts'
import { type Engine, oneByOne } from './group.ts'
import { type Dialect, type Operation, together } from './statement.ts'

/** A prediction with what its caller ordered, as text; empty = nothing. */
export interface Ordered {
  id: string
  webhook: string
}

export type DeliveryRows = ReturnType<typeof makeDeliveryRows>

export function makeDeliveryRows(dialect: Dialect) {
  const insert = dialect.prepare(
    (db, p: { id: string; predictionId: string; event: WebhookEvent; url: string; now: number }) =>
      db.insertInto('deliveries').values({
        id: p.id,
        prediction_id: p.predictionId,
        event: p.event,
        url: p.url,
        status: 'waiting',
        created_at: p.now,
        next_at: p.now,
      }),
  )
  const one = dialect.prepare((db, p: { id: string }) =>
    dialect.locking(db.selectFrom('deliveries').select(['status', 'url', 'body']).where('id', '=', p.id)),
  )
  const find = dialect.prepare((db, p: { id: string }) =>
    db.selectFrom('deliveries').select(shown).where('id', '=', p.id),
  )
  const ofPrediction = dialect.prepare((db, p: { id: string }) =>
    db.selectFrom('deliveries').select(shown).where('prediction_id', '=', p.id).orderBy('seq'),
  )
  const setBody = dialect.prepare((db, p: { id: string; body: string }) =>
    db.updateTable('deliveries').set({ body: p.body }).where('id', '=', p.id),
  )
  const setTried = dialect.prepare(
    (
      db,
      p: {
        id: string
        status: DeliveryTable['status']
        answer: number | null
        error: string
        now: number
        next: number | null
        ended: number | null
      },
    ) =>
      db
        .updateTable('deliveries')
        .set((of) => ({
          status: p.status,
          attempts: of('attempts', '+', 1),
          last_status: p.answer,
          last_error: p.error,
          tried_at: p.now,
          next_at: p.next,
          ended_at: p.ended,
        }))
        .where('id', '=', p.id),
  )
  const disable = dialect.prepare((db, p: { url: string; now: number }) =>
    db
      .insertInto('gone_endpoints')
      .values({ url: p.url, created_at: p.now })
      .onConflict((on) => on.doNothing()),
  )
  const enable = dialect.prepare((db, p: { url: string }) =>
    db.deleteFrom('gone_endpoints').where('url', '=', p.url),
  )
  const gone = dialect.prepare((db, p: { url: string }) =>
    db.selectFrom('gone_endpoints').select('url').where('url', '=', p.url),
  )
  const before = dialect.prepare((db, p: { id: string }) =>
    db
      .selectFrom('deliveries as this')
      .innerJoin('deliveries as earlier', 'earlier.prediction_id', 'this.prediction_id')
      .select('earlier.id')
      .where('this.id', '=', p.id)
      .whereRef('earlier.seq', '<', 'this.seq')
      .where('earlier.status', '=', 'waiting')
      .where('earlier.attempts', '=', 0)
      .limit(1),
  )
  const wait = dialect.prepare((db, p: { id: string; now: number }) =>
    db
      .updateTable('deliveries')
      .set({ status: 'waiting', next_at: p.now, ended_at: null })
      .where('id', '=', p.id),
  )
  const order = dialect.prepare((db, p: { id: string }) =>
    db.selectFrom('predictions').select('webhook').where('id', '=', p.id),
  )

  return {
    /** The ids of the new deliveries, by prediction. Nothing is asked where nothing was ordered. */
    *happened(
      event: WebhookEvent,
      rows: readonly Ordered[],
      now: number,
    ): Operation<{ predictionId: string; delivery: string }[]> {
      const made: { predictionId: string; delivery: string }[] = []
      const inserts: Operation<unknown>[] = []
      for (const { id: predictionId, webhook } of rows) {
        if (webhook === '') continue
        const { url, events } = JSON.parse(webhook) as WebhookOrder
        if (!events.includes(event)) continue
        const delivery = `msg_${randomBytes(15).toString('hex')}`
        made.push({ predictionId, delivery })
        inserts.push(insert({ id: delivery, predictionId, event, url, now }))
      }
      if (inserts.length > 0) yield* together(inserts)
      return made
    },
    *get(id: string): Operation<StoredDelivery | undefined> {
      const [row] = yield* find({ id })
      return row && stored(row)
    },
    *list(predictionId: string): Operation<StoredDelivery[]> {
      return (yield* ofPrediction({ id: predictionId })).map(stored)
    },
    *keepBody(id: string, body: string): Operation<string> {
      const [row] = yield* one({ id })
      if (row?.body) return row.body
      yield* setBody({ id, body })
      return body
    },
    *tried(id: string, { status, answer, error, nextInMs = 0 }: DeliveryTry, now: number): Operation<void> {
      const [row] = yield* one({ id })
      if (row === undefined) return
      const open = status === 'waiting'
      yield* setTried({
        id,
        status,
        answer,
        error,
        now,
        next: open ? now + nextInMs : null,
        ended: open ? null : now,
      })
      if (status === 'gone') yield* disable({ url: row.url, now })
    },
    *isGone(url: string): Operation<boolean> {
      return (yield* gone({ url })).length > 0
    },
    *isNext(id: string): Operation<boolean> {
      return (yield* before({ id })).length === 0
    },
    *reopen(id: string, now: number): Operation<boolean> {
      const [row] = yield* one({ id })
      if (row === undefined || row.status === 'waiting') return false
      yield* wait({ id, now })
      yield* enable({ url: row.url })
      return true
    },
    *orderOf(id: string): Operation<WebhookOrder | undefined> {
      const [row] = yield* order({ id })
      return row === undefined || row.webhook === '' ? undefined : (JSON.parse(row.webhook) as WebhookOrder)
    },
  }
}

export function makeDeliveryStore(rows: DeliveryRows, engine: Engine): DeliveryStore {
  const ownId = (r: { id: string }) => [r.id]
  const keepBody = oneByOne(ownId, (r: { id: string; body: string }) => rows.keepBody(r.id, r.body))
  const tried = oneByOne(ownId, (r: { id: string; outcome: DeliveryTry }, now) =>
    rows.tried(r.id, r.outcome, now),
  )
  const reopen = oneByOne(ownId, (r: { id: string }, now) => rows.reopen(r.id, now))
  return {
    get: (id) => engine.read(() => rows.get(id)),
    list: (predictionId) => engine.read(() => rows.list(predictionId)),
    keepBody: (id, body) => engine.write(keepBody, { id, body }),
    tried: (id, outcome) => engine.write(tried, { id, outcome }),
    isGone: (url) => engine.read(() => rows.isGone(url)),
    isNext: (id) => engine.read(() => rows.isNext(id)),
    reopen: (id) => engine.write(reopen, { id }),
    orderOf: (predictionId) => engine.read(() => rows.orderOf(predictionId)),
  }
}

type DeliveryRow = Selectable<DeliveryTable>
const shown = [
  'id',
  'prediction_id',
  'event',
  'url',
  'body',
  'status',
  'attempts',
  'last_status',
  'last_error',
  'created_at',
  'tried_at',
  'next_at',
  'ended_at',
] as const satisfies readonly (keyof DeliveryRow)[]

function stored(row: Pick<DeliveryRow, (typeof shown)[number]>): StoredDelivery {
  const time = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString())
  return {
    id: row.id,
    predictionId: row.prediction_id,
    event: row.event,
    url: row.url,
    body: row.body,
    status: row.status,
    attempts: row.attempts,
    lastStatus: row.last_status,
    lastError: row.last_error,
    createdAt: new Date(row.created_at).toISOString(),
    triedAt: time(row.tried_at),
    nextAt: time(row.next_at),
    endedAt: time(row.ended_at),
  }
}
