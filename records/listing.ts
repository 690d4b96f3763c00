/** Reading predictions: one, a page, or which of many are terminal. Never writes. */
import { ServiceError } from '../contracts/errors.ts'
import type { TerminalStatus } from '../contracts/statuses.ts'
import { shownColumns, shownOutputs, storedFrom } from './rows.ts'
import type { Dialect, Operation, Question, Value } from './statement.ts'
import type { ListFilter, Page, StoredPrediction } from './store.ts'
import type { PredictionRow } from './tables.ts'

type Listed = Parameters<typeof storedFrom>[0]
type Given = (typeof given)[number]

const given = ['queue', 'modelName', 'status', 'errorCode', 'createdFrom', 'createdBefore'] as const

export function makeListing(dialect: Dialect) {
  const one = dialect.prepare((db, p: { id: string }) =>
    db
      .selectFrom('predictions')
      .leftJoin('prediction_outputs', 'prediction_outputs.id', 'predictions.id')
      .select(shownColumns.map((column) => `predictions.${column}` as const))
      .select(shownOutputs)
      .where('predictions.id', '=', p.id),
  )
  const inputs = dialect.prepare((db, p: { id: string }) =>
    db.selectFrom('prediction_inputs').select('inputs').where('id', '=', p.id),
  )
  const terminal = dialect.prepare((db, p: { ids: string }) =>
    db
      .selectFrom('predictions')
      .select(['id', 'status'])
      .where(dialect.among('id', p.ids))
      .where('status', 'in', ['succeeded', 'failed', 'canceled']),
  )

  // One statement per combination of filters, so that each can use its index.
  const pages = new Map<string, Question<Record<string, Value>, Listed>>()

  function pageOf(filters: readonly Given[], newer: boolean): Question<Record<string, Value>, Listed> {
    const name = `${filters.join()} ${newer}`
    const known = pages.get(name)
    if (known !== undefined) return known
    const question = dialect.prepare(
      (
        db,
        p: {
          queue: string
          modelName: string
          status: PredictionRow['status']
          errorCode: string
          createdFrom: number
          createdBefore: number
          at: number
          limit: number
        },
      ) => {
        let query = db
          .selectFrom('predictions')
          .leftJoin('prediction_outputs', 'prediction_outputs.id', 'predictions.id')
          .select(shownColumns.map((column) => `predictions.${column}` as const))
          .select(shownOutputs)
          .where('seq', newer ? '>' : '<', p.at)
          .orderBy('seq', newer ? 'asc' : 'desc')
          .limit(p.limit)
        if (filters.includes('queue')) query = query.where('queue', '=', p.queue)
        if (filters.includes('modelName')) query = query.where('model_name', '=', p.modelName)
        if (filters.includes('status')) query = query.where('status', '=', p.status)
        if (filters.includes('errorCode')) query = query.where('error_code', '=', p.errorCode)
        if (filters.includes('createdFrom')) query = query.where('created_at', '>=', p.createdFrom)
        if (filters.includes('createdBefore')) query = query.where('created_at', '<', p.createdBefore)
        return query
      },
    ) as unknown as Question<Record<string, Value>, Listed>
    pages.set(name, question)
    return question
  }

  return {
    *get(id: string): Operation<StoredPrediction | undefined> {
      const [row] = yield* one({ id })
      return row === undefined ? undefined : storedFrom(row)
    },

    *inputs(id: string): Operation<string | undefined> {
      return (yield* inputs({ id }))[0]?.inputs
    },

    *list(filter: ListFilter): Operation<Page> {
      const { limit, cursor, ...others } = filter
      if (!Number.isInteger(limit) || limit < 1 || limit > 1000) {
        throw new ServiceError('invalid_input', 'limit must be between 1 and 1000')
      }
      const filters = given.filter((name) => filter[name] !== undefined)
      const { at, newer } = positionOf(cursor)
      const params: Record<string, Value> = { at, limit: limit + 1 }
      for (const name of filters) params[name] = others[name] ?? null
      const rows = yield* pageOf(filters, newer)(params)
      const items = rows.slice(0, limit).map(storedFrom)
      if (newer) items.reverse()
      const [first, last] = [items[0], items.at(-1)]
      if (first === undefined || last === undefined) return { items }
      // Where one has come from, there is always something.
      const hasOlder = newer || rows.length > limit
      const hasNewer = newer ? rows.length > limit : cursor !== undefined
      return {
        items,
        ...(hasOlder && { nextCursor: cursorAt(last.seq, false) }),
        ...(hasNewer && { previousCursor: cursorAt(first.seq, true) }),
      }
    },

    *terminalAmong(ids: readonly string[]): Operation<Map<string, TerminalStatus>> {
      const found = new Map<string, TerminalStatus>()
      for (const { id, status } of yield* terminal({ ids: JSON.stringify(ids) })) {
        if (status !== 'pending' && status !== 'running') found.set(id, status)
      }
      return found
    },
  }
}

/** `newer`: the page before it, of what was accepted later. */
function cursorAt(seq: number, newer: boolean): string {
  return Buffer.from(`${newer ? 'from' : 'seq'} ${seq}`).toString('base64url')
}

function positionOf(cursor: string | undefined): { at: number; newer: boolean } {
  if (cursor === undefined) return { at: Number.MAX_SAFE_INTEGER, newer: false }
  const [, way, digits] = /^(seq|from) (\d{1,15})$/.exec(Buffer.from(cursor, 'base64url').toString()) ?? []
  if (digits === undefined) throw new ServiceError('invalid_input', 'unknown cursor')
  return { at: Number(digits), newer: way === 'from' }
}
