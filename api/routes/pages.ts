/** Pages of lists that are read newest first: the cursor is the number of the last item. */
import { z } from 'zod'
import { ServiceError } from '../../contracts/errors.ts'
import type { ApiContext } from '../surface.ts'

export const pageQuery = z.object({
  limit: z.string().optional().meta({ description: '1 to 100, else 50' }),
  cursor: z.string().optional().meta({ description: 'From `next` of the page before' }),
})

export interface Part {
  limit: number
  before?: number
}

/** Throws `invalid_input` naming the parameter. */
export function partOf(c: ApiContext): Part {
  const limit = c.req.query('limit') ?? '50'
  const cursor = c.req.query('cursor')
  if (!/^\d{1,3}$/.test(limit) || Number(limit) < 1 || Number(limit) > 100) {
    throw new ServiceError('invalid_input', 'limit must be 1 to 100')
  }
  if (cursor === undefined) return { limit: Number(limit) }
  if (!/^\d{1,15}$/.test(cursor)) throw new ServiceError('invalid_input', 'cursor is not one of ours')
  return { limit: Number(limit), before: Number(cursor) }
}

export function pageOf<Item extends { seq: number }, View>(
  c: ApiContext,
  { limit }: Part,
  items: readonly Item[],
  view: (item: Item) => View,
): { next: string | null; previous: null; results: View[] } {
  const last = items.at(-1)
  const more = items.length === limit && last !== undefined
  const query = new URLSearchParams(c.req.query())
  if (more) query.set('cursor', String(last.seq))
  return { next: more ? `${c.req.path}?${query}` : null, previous: null, results: items.map(view) }
}
