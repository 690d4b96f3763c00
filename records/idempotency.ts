/** Idempotency keys: which prediction a key stands for, and whose it becomes. Owns their rows until retention takes them. */
import { type Dialect, type Operation, together } from './statement.ts'
import type { IdempotencyKey, ItemAdmitted } from './store.ts'

/** The prediction that the key stands for, or that it stands for another request. */
export type Earlier = Extract<ItemAdmitted, { outcome: 'earlier' | 'mismatch' }>

export interface Keyed {
  id: string
  idempotency?: IdempotencyKey | undefined
}

/** `lifetimeMs`: how long a key stands for its first request. */
export function makeIdempotency(dialect: Dialect, lifetimeMs: number) {
  const find = dialect.prepare((db, p: { key: string; since: number }) =>
    db
      .selectFrom('idempotency_keys')
      .select(['fingerprint', 'prediction_id'])
      .where('key', '=', p.key)
      .where('created_at', '>', p.since),
  )
  const claim = dialect.prepare(
    (db, p: { key: string; fingerprint: string; id: string; now: number; since: number }) =>
      db
        .insertInto('idempotency_keys')
        .values({ key: p.key, fingerprint: p.fingerprint, prediction_id: p.id, created_at: p.now })
        .onConflict((conflict) =>
          conflict
            .column('key')
            .doUpdateSet({ fingerprint: p.fingerprint, prediction_id: p.id, created_at: p.now })
            .where('idempotency_keys.created_at', '<=', p.since),
        )
        .returning('key'),
  )
  const free = dialect.prepare((db, p: { ids: string }) =>
    db.deleteFrom('idempotency_keys').where(dialect.among('prediction_id', p.ids)),
  )

  function* earlier({ key, fingerprint }: IdempotencyKey, now: number): Operation<Earlier | undefined> {
    const [found] = yield* find({ key, since: now - lifetimeMs })
    if (found === undefined) return undefined
    return found.fingerprint === fingerprint
      ? { outcome: 'earlier', id: found.prediction_id }
      : { outcome: 'mismatch' }
  }

  function* claimOne(
    id: string,
    { key, fingerprint }: IdempotencyKey,
    now: number,
  ): Operation<Earlier | undefined> {
    const since = now - lifetimeMs
    const claimed = yield* claim({ key, fingerprint, id, now, since })
    return claimed.length > 0 ? undefined : yield* earlier({ key, fingerprint }, now)
  }

  /** By id, of all whose key stands for a prediction already; one round trip for all. */
  function* known(items: readonly Keyed[], now: number): Operation<Map<string, Earlier>> {
    return yield* each(items, (_, key) => earlier(key, now))
  }

  /**
   * The keys now stand for these predictions, the first of each key wins. By id, of those that came too late; two round
   * trips for all.
   */
  function* take(items: readonly Keyed[], now: number): Operation<Map<string, Earlier>> {
    return yield* each(items, (id, key) => claimOne(id, key, now))
  }

  return {
    known,
    take,
    /** The keys of these predictions stand for nothing any more. */
    *free(ids: readonly string[]): Operation<void> {
      if (ids.length > 0) yield* free({ ids: JSON.stringify(ids) })
    },
  }
}

function* each(
  items: readonly Keyed[],
  ask: (id: string, key: IdempotencyKey) => Operation<Earlier | undefined>,
): Operation<Map<string, Earlier>> {
  const keyed = items
    .flatMap(({ id, idempotency }) => (idempotency === undefined ? [] : { id, idempotency }))
    // Whoever claims several waits for the others in one order; of one key the first stays the first.
    .sort(({ idempotency: a }, { idempotency: b }) => Number(a.key > b.key) - Number(a.key < b.key))
  const answers = yield* together(keyed.map(({ id, idempotency }) => ask(id, idempotency)))
  const found = new Map<string, Earlier>()
  keyed.forEach(({ id }, at) => {
    const answer = answers[at]
    if (answer !== undefined) found.set(id, answer)
  })
  return found
}
