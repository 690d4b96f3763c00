/** How records begin: admit, begin, discard. Owns the exact queue limit and idempotency keys; starts nothing. */
import { flightIdOf, type Lane, type PlatformName } from '../contracts/names.ts'
import type { Outbox } from './outbox.ts'
import { columns, type NewRow, rowOf } from './rows.ts'
import { type Dialect, type Operation, together } from './statement.ts'
import type { Admission, Admitted, Begun, IdempotencyKey, ItemAdmitted, NewSyncPrediction } from './store.ts'

export const discardedText = 'task queue failed'

/** `keyLifetimeMs`: how long an idempotency key stands for its first request. */
export function makeAdmission(dialect: Dialect, outbox: Outbox, keyLifetimeMs: number) {
  const processState = dialect.prepare((db, p: { id: string }) =>
    dialect.sharing(db.selectFrom('processes').select('state').where('id', '=', p.id)),
  )
  const ensureQueue = dialect.prepare((db, p: { name: string }) =>
    db
      .insertInto('queues')
      .values({ name: p.name, paused: 0 })
      .onConflict((conflict) => conflict.doNothing()),
  )
  const findQueue = dialect.prepare((db, p: { name: string }) =>
    db.selectFrom('queues').select('name').where('name', '=', p.name),
  )
  const findFlight = dialect.prepare((db, p: { prefix: string }) =>
    db.selectFrom('flights').select('process_id').where('prefix', '=', p.prefix),
  )
  const known = dialect.prepare((db, p: { ids: string }) =>
    db
      .selectFrom('predictions')
      .select(['id', 'queue_num', 'flight', 'token'])
      .where(dialect.among('id', p.ids)),
  )
  const countWaiting = dialect.prepare((db, p: { queue: string }) =>
    db
      .selectFrom('predictions')
      .select((of) => of.fn.countAll<number>().as('waiting'))
      .where('queue', '=', p.queue)
      .where('status', '=', 'pending'),
  )
  const insertFlight = dialect.prepare(
    (
      db,
      p: {
        prefix: string
        processId: string
        platform: PlatformName
        lane: Lane
        heartbeatTimeoutMs: number
      },
    ) =>
      db.insertInto('flights').values({
        prefix: p.prefix,
        process_id: p.processId,
        platform: p.platform,
        lane: p.lane,
        heartbeat_timeout_ms: p.heartbeatTimeoutMs,
        started: 0,
      }),
  )
  const markStarted = dialect.prepare((db, p: { prefixes: string }) =>
    db
      .updateTable('flights')
      .set({ started: 1 })
      .where(dialect.among('prefix', p.prefixes))
      .where('started', '=', 0),
  )
  const insertWaiting = dialect.prepare(
    (db, p: NewRow & { flight: string; queueNum: number; sync: number }) =>
      db.insertInto('predictions').values({
        ...columns(p),
        status: 'pending',
        queue_num: p.queueNum,
        queue_id: p.queueId,
        flight: p.flight,
        sync: p.sync,
      }),
  )
  const insertRunning = dialect.prepare((db, p: NewRow & { holder: string }) =>
    db.insertInto('predictions').values({
      ...columns(p),
      status: 'running',
      queue_num: 0,
      queue_id: p.queueId,
      owner: p.holder,
      started_at: p.now,
      attempts: 1,
      token: 1,
      holder: p.holder,
    }),
  )
  const insertInputs = dialect.prepare((db, p: { id: string; inputs: string }) =>
    db.insertInto('prediction_inputs').values({ id: p.id, inputs: p.inputs }),
  )
  const findKey = dialect.prepare((db, p: { key: string; since: number }) =>
    db
      .selectFrom('idempotency_keys')
      .select(['fingerprint', 'prediction_id'])
      .where('key', '=', p.key)
      .where('created_at', '>', p.since),
  )
  const claimKey = dialect.prepare(
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
  const failWaiting = dialect.prepare((db, p: { ids: string; now: number }) =>
    db
      .updateTable('predictions')
      .set({
        status: 'failed',
        error_info: discardedText,
        error_code: 'task_queue_failed',
        ended_at: p.now,
      })
      .where(dialect.among('id', p.ids))
      .where('status', '=', 'pending')
      .returning(['id', 'webhook']),
  )
  const freeKeys = dialect.prepare((db, p: { ids: string }) =>
    db.deleteFrom('idempotency_keys').where(dialect.among('prediction_id', p.ids)),
  )
  const notDiscarded = dialect.prepare((db, p: { ids: string }) =>
    db
      .selectFrom('predictions')
      .select('id')
      .where(dialect.among('id', p.ids))
      .where((is) => is.or([is('status', '!=', 'failed'), is('error_code', '!=', 'task_queue_failed')])),
  )

  function* earlier(key: IdempotencyKey | undefined, now: number): Operation<Earlier | undefined> {
    if (key === undefined) return undefined
    const [found] = yield* findKey({ key: key.key, since: now - keyLifetimeMs })
    if (found === undefined) return undefined
    return found.fingerprint === key.fingerprint
      ? { outcome: 'earlier', id: found.prediction_id }
      : { outcome: 'mismatch' }
  }

  /** Undefined once the key belongs to `id`; else whose it is. */
  function* claim(key: IdempotencyKey | undefined, id: string, now: number): Operation<Earlier | undefined> {
    if (key === undefined) return undefined
    const since = now - keyLifetimeMs
    const claimed = yield* claimKey({ key: key.key, fingerprint: key.fingerprint, id, now, since })
    return claimed.length > 0 ? undefined : yield* earlier(key, now)
  }

  return {
    *admit(admission: Admission, now: number): Operation<Admitted> {
      const { processId, queue, flight, items } = admission
      const [process] = yield* processState({ id: processId })
      if (process?.state !== 'open')
        return { outcome: 'process_not_open', state: process?.state ?? 'unknown' }

      const ids = JSON.stringify(items.map((item) => item.id))
      yield* dialect.admitAlone(queue)
      const repeated = new Map((yield* known({ ids })).map((row) => [row.id, row]))
      const [sameFlight] = yield* findFlight({ prefix: flight.prefix })
      // An answer that was lost is asked again with the same ids; anything else with this prefix is chance.
      const ours = sameFlight?.process_id === processId && repeated.size > 0
      if (!ours && (sameFlight !== undefined || repeated.size > 0)) return { outcome: 'collision' }

      if (admission.started && admission.started.length > 0) {
        yield* markStarted({ prefixes: JSON.stringify(admission.started) })
      }
      if ((yield* findQueue({ name: queue })).length === 0) yield* ensureQueue({ name: queue })
      let waiting = (yield* countWaiting({ queue }))[0]?.waiting ?? 0
      const inserts: Operation<unknown>[] = []
      const answers: ItemAdmitted[] = []
      for (const item of items) {
        const before = repeated.get(item.id)
        if (before !== undefined) {
          answers.push({ outcome: 'accepted', queueNum: before.queue_num })
          continue
        }
        const taken = yield* earlier(item.idempotency, now)
        if (taken !== undefined) {
          answers.push(taken)
          continue
        }
        if (waiting >= admission.maxQueueSize) {
          answers.push({ outcome: 'full' })
          continue
        }
        const lost = yield* claim(item.idempotency, item.id, now)
        if (lost !== undefined) {
          answers.push(lost)
          continue
        }
        inserts.push(
          insertWaiting({
            ...rowOf(item, now),
            queue,
            platform: flight.platform,
            queueNum: waiting,
            queueId: flightIdOf(flight.prefix),
            flight: flight.prefix,
            sync: item.sync ? 1 : 0,
          }),
          insertInputs({ id: item.id, inputs: item.inputs }),
          outbox.created(item, 'pending', waiting, now),
        )
        answers.push({ outcome: 'accepted', queueNum: waiting })
        waiting++
      }
      if (inserts.length > 0 && sameFlight === undefined) {
        const { prefix, platform, lane, heartbeatTimeoutMs } = flight
        inserts.push(insertFlight({ prefix, processId, platform, lane, heartbeatTimeoutMs }))
      }
      yield* together(inserts)
      return { outcome: 'admitted', items: answers }
    },

    *begin(prediction: NewSyncPrediction, processId: string, now: number): Operation<Begun> {
      const { id, queue, platform, idempotency } = prediction
      const [process] = yield* processState({ id: processId })
      if (process?.state !== 'open')
        return { outcome: 'process_not_open', state: process?.state ?? 'unknown' }
      const [repeated] = yield* known({ ids: JSON.stringify([id]) })
      if (repeated !== undefined) return { outcome: 'begun', token: repeated.token }
      const taken = yield* claim(idempotency, id, now)
      if (taken !== undefined) return taken
      yield* insertRunning({ ...rowOf(prediction, now), queue, platform, queueId: '', holder: processId })
      yield* insertInputs({ id, inputs: prediction.inputs })
      yield* outbox.created(prediction, 'running', 0, now)
      return { outcome: 'begun', token: 1 }
    },

    *discard(predictionIds: readonly string[], now: number): Operation<string[]> {
      const ids = JSON.stringify(predictionIds)
      const rows = yield* failWaiting({ ids, now })
      const failed = rows.map((row) => row.id)
      yield* freeKeys({ ids: JSON.stringify(failed) })
      yield* outbox.changed(failed, now)
      yield* outbox.happened('completed', rows, now)
      return (yield* notDiscarded({ ids })).map((row) => row.id)
    },

    *markStarted(prefixes: readonly string[]): Operation<void> {
      yield* markStarted({ prefixes: JSON.stringify(prefixes) })
    },
  }
}

type Earlier = Extract<ItemAdmitted, { outcome: 'earlier' | 'mismatch' }>
