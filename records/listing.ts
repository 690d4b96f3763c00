/** Reading predictions: one, a page, or which of many are terminal. Never writes. */
import { ServiceError } from '../contracts/errors.ts'
import type { TerminalStatus } from '../contracts/statuses.ts'
import { shownColumns, shownOutputs, storedFrom } from './rows.ts'
import type { Dialect, Operation, Question, Value } from './statement.ts'
import type { ListFilter, Page, StoredPrediction } from './store.ts'
import type { PredictionRow } from './tables.ts'

type Listed = Parameters<typeof storedFrom>[0]
type Given = (typeof given)[number]

const given = ['queue', 'modelName', 'status', 'aborted', 'createdFrom', 'createdBefore'] as const

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

  function pageOf(filters: readonly Given[], aborted = false): Question<Record<string, Value>, Listed> {
    const name = `${filters.join()} ${aborted}`
    const known = pages.get(name)
    if (known !== undefined) return known
    const question = dialect.prepare(
      (
        db,
        p: {
          queue: string
          modelName: string
          status: PredictionRow['status']
          createdFrom: number
          createdBefore: number
          before: number
          limit: number
        },
      ) => {
        let query = db
          .selectFrom('predictions')
          .leftJoin('prediction_outputs', 'prediction_outputs.id', 'predictions.id')
          .select(shownColumns.map((column) => `predictions.${column}` as const))
          .select(shownOutputs)
          .where('seq', '<', p.before)
          .orderBy('seq', 'desc')
          .limit(p.limit)
        if (filters.includes('queue')) query = query.where('queue', '=', p.queue)
        if (filters.includes('modelName')) query = query.where('model_name', '=', p.modelName)
        if (filters.includes('status')) query = query.where('status', '=', p.status)
        if (filters.includes('createdFrom')) query = query.where('created_at', '>=', p.createdFrom)
        if (filters.includes('createdBefore')) query = query.where('created_at', '<', p.createdBefore)
        if (filters.includes('aborted')) {
          query = query.where('error_code', aborted ? '=' : '!=', 'prediction_aborted')
        }
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
      const { aborted, limit, ...others } = filter
      if (!Number.isInteger(limit) || limit < 1 || limit > 1000) {
        throw new ServiceError('invalid_input', 'limit must be between 1 and 1000')
      }
      const filters = given.filter((name) => filter[name] !== undefined)
      const params: Record<string, Value> = { before: positionOf(filter.cursor), limit: limit + 1 }
      for (const name of filters) if (name !== 'aborted') params[name] = others[name] ?? null
      const rows = yield* pageOf(filters, aborted)(params)
      const items = rows.slice(0, limit).map(storedFrom)
      const last = rows[limit - 1]
      return rows.length > limit && last !== undefined ? { items, nextCursor: cursorAt(last.seq) } : { items }
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

function cursorAt(seq: number): string {
  return Buffer.from(`seq ${seq}`).toString('base64url')
}

function positionOf(cursor: string | undefined): number {
  if (cursor === undefined) return Number.MAX_SAFE_INTEGER
  const [, digits] = /^seq (\d{1,15})$/.exec(Buffer.from(cursor, 'base64url').toString()) ?? []
  if (digits === undefined) throw new ServiceError('invalid_input', 'unknown cursor')
  return Number(digits)
}
