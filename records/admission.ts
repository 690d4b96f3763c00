/** How records begin: admit, begin, and what becomes of them when nobody heard of it. Owns the exact queue limit and
 * idempotency keys; starts nothing. */
import { flightIdOf, type Lane, type PlatformName } from '../contracts/names.ts'
import type { Ordered } from './delivery-rows.ts'
import type { Keyed, makeIdempotency } from './idempotency.ts'
import type { Outbox } from './outbox.ts'
import { columns, type NewRow, rowOf } from './rows.ts'
import { both, type Dialect, type Operation, together } from './statement.ts'
import type { Admission, Admitted, Begun, ItemAdmitted, NewSyncPrediction, ProcessState } from './store.ts'

type Idempotency = ReturnType<typeof makeIdempotency>

/** Inherited text of a record whose caller was told that it is not accepted. */
const withdrawnText = 'task queue failed'
const unheardText = 'the record store did not answer in time, and nothing was called'

export interface DoubtRequest {
  queue: string
  ids: readonly string[]
}

export interface AbandonRequest {
  processId: string
  ids: readonly string[]
}

export interface BeginRequest {
  prediction: NewSyncPrediction
  processId: string
}

export function makeAdmission(dialect: Dialect, outbox: Outbox, keys: Idempotency) {
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
        priority: number | null
        fairnessKey: string
        streamed: number
      },
    ) =>
      db.insertInto('flights').values({
        prefix: p.prefix,
        process_id: p.processId,
        platform: p.platform,
        lane: p.lane,
        heartbeat_timeout_ms: p.heartbeatTimeoutMs,
        priority: p.priority,
        fairness_key: p.fairnessKey,
        streamed: p.streamed,
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
  // A token above 0 says that somebody has taken it: whoever has wins.
  const failUntaken = dialect.prepare((db, p: { ids: string; now: number }) =>
    db
      .updateTable('predictions')
      .set({
        status: 'failed',
        error_info: withdrawnText,
        error_code: 'task_queue_failed',
        ended_at: p.now,
      })
      .where(dialect.among('id', p.ids))
      .where('status', '=', 'pending')
      .where('token', '=', 0)
      .where((is) =>
        is.not(
          is.exists(
            is
              .selectFrom('idempotency_keys')
              .select('key')
              .whereRef('idempotency_keys.prediction_id', '=', 'predictions.id'),
          ),
        ),
      )
      .returning(['id', 'webhook']),
  )
  /** Waits for a transaction that has inserted the same id, then does nothing if that was committed. */
  const occupy = dialect.prepare((db, p: { id: string; now: number }) =>
    db
      .insertInto('predictions')
      .values({
        ...{ id: p.id, model_name: '', model_version: '', status: 'failed', platform: 'v2' },
        ...{ created_at: p.now, ended_at: p.now, queue: '', queue_num: 0, queue_id: '', uid: '' },
      })
      .onConflict((conflict) => conflict.column('id').doNothing())
      .returning('id'),
  )
  const vacate = dialect.prepare((db, p: { id: string }) =>
    db.deleteFrom('predictions').where('id', '=', p.id),
  )
  const failBegun = dialect.prepare((db, p: { id: string; holder: string; now: number }) =>
    db
      .updateTable('predictions')
      .set({
        status: 'failed',
        error_info: unheardText,
        error_code: 'store_unavailable',
        ended_at: p.now,
        holder: null,
      })
      .where('id', '=', p.id)
      .where('status', '=', 'running')
      .where('holder', '=', p.holder)
      .returning(['id', 'webhook']),
  )

  function* ended(rows: readonly Ordered[], now: number): Operation<void> {
    yield* outbox.changed(
      rows.map(({ id }) => id),
      now,
    )
    yield* outbox.happened('completed', rows, now)
  }

  return {
    /** Four round trips, six with keys, however many the items are: other APIs wait for the lock. */
    *admit(admission: Admission, now: number): Operation<Admitted> {
      const { processId, queue, flight, items } = admission
      const ids = JSON.stringify(items.map((item) => item.id))
      // The lock comes after the process's row for everybody, and what is read after the lock is what counts.
      const [[process], [, [[knownRows, [sameFlight]], [[knownQueue], [counted]]]]] = yield* both(
        processState({ id: processId }),
        both(
          dialect.admitAlone(queue),
          both(
            both(known({ ids }), findFlight({ prefix: flight.prefix })),
            both(findQueue({ name: queue }), countWaiting({ queue })),
          ),
        ),
      )
      const repeated = new Map(knownRows.map((row) => [row.id, row]))
      // An answer that was lost is asked again with the same ids; anything else with this prefix is chance.
      const ours = sameFlight?.process_id === processId && repeated.size > 0
      if (!ours && (sameFlight !== undefined || repeated.size > 0)) return { outcome: 'collision' }
      // What was committed is answered whatever has become of the process; only what is new needs it open.
      const isOpen = process?.state === 'open'
      if (!isOpen && !ours) return { outcome: 'process_not_open', state: process?.state ?? 'unknown' }

      const fresh = items.filter(({ id }) => !repeated.has(id))
      const earlier = yield* keys.known(fresh, now)
      const unclaimed = fresh.filter(({ id }) => !earlier.has(id))
      const waiting = counted?.waiting ?? 0
      const fitting = fittingOf(unclaimed, isOpen ? admission.maxQueueSize - waiting : 0)
      for (const [id, lost] of yield* keys.take(fitting, now)) earlier.set(id, lost)
      const accepted = fitting.filter(({ id }) => !earlier.has(id))
      const queueNums = new Map(accepted.map(({ id }, at) => [id, waiting + at]))

      const writes: Operation<unknown>[] = []
      if (admission.started && admission.started.length > 0) {
        writes.push(markStarted({ prefixes: JSON.stringify(admission.started) }))
      }
      if (knownQueue === undefined) writes.push(ensureQueue({ name: queue }))
      for (const [at, item] of accepted.entries()) {
        const queueNum = waiting + at
        writes.push(
          insertWaiting({
            ...rowOf(item, now),
            queue,
            platform: flight.platform,
            queueNum,
            queueId: flightIdOf(flight.prefix),
            flight: flight.prefix,
            sync: item.sync ? 1 : 0,
          }),
          insertInputs({ id: item.id, inputs: item.inputs }),
          outbox.created(item, 'pending', queueNum, now),
        )
      }
      if (accepted.length > 0 && sameFlight === undefined) {
        const { priority = null, fairnessKey = '', streamed = false, ...row } = flight
        writes.push(insertFlight({ ...row, processId, priority, fairnessKey, streamed: streamed ? 1 : 0 }))
      }
      yield* together(writes)
      return {
        outcome: 'admitted',
        items: items.map(({ id }): ItemAdmitted => {
          const queueNum = repeated.get(id)?.queue_num ?? queueNums.get(id)
          if (queueNum !== undefined) return { outcome: 'accepted', queueNum }
          return earlier.get(id) ?? { outcome: 'full' }
        }),
      }
    },

    /** All direct calls of one group, each id once: two round trips, four with keys, however many they are. */
    *begin(requests: readonly BeginRequest[], now: number): Operation<Begun[]> {
      const processIds = [...new Set(requests.map(({ processId }) => processId))]
      const ids = JSON.stringify(requests.map(({ prediction }) => prediction.id))
      const [processes, knownRows] = yield* both(
        together(processIds.map((id) => processState({ id }))),
        known({ ids }),
      )
      const states = new Map<string, ProcessState>(
        processIds.map((id, at) => [id, processes[at]?.[0]?.state ?? 'unknown']),
      )
      const repeated = new Map(knownRows.map((row) => [row.id, row.token]))
      const fresh = requests.filter(
        ({ prediction, processId }) => states.get(processId) === 'open' && !repeated.has(prediction.id),
      )
      const earlier = yield* keys.take(
        fresh.map(({ prediction }) => prediction),
        now,
      )
      const begun = fresh.filter(({ prediction }) => !earlier.has(prediction.id))
      yield* together(
        begun.flatMap(({ prediction, processId }): Operation<unknown>[] => {
          const { id, queue, platform, inputs } = prediction
          return [
            insertRunning({ ...rowOf(prediction, now), queue, platform, queueId: '', holder: processId }),
            insertInputs({ id, inputs }),
            outbox.created(prediction, 'running', 0, now),
          ]
        }),
      )
      return requests.map(({ prediction, processId }): Begun => {
        const state = states.get(processId) ?? 'unknown'
        const token = repeated.get(prediction.id)
        if (token !== undefined) return { outcome: 'begun', token }
        if (state !== 'open') return { outcome: 'process_not_open', state }
        return earlier.get(prediction.id) ?? { outcome: 'begun', token: 1 }
      })
    },

    /** A transaction in doubt holds the lock to its end: whatever it was to write is there now, or never will be. */
    *settleDoubt({ queue, ids }: DoubtRequest, now: number): Operation<void> {
      yield* dialect.admitAlone(queue)
      const rows = yield* failUntaken({ ids: JSON.stringify(ids), now })
      yield* ended(rows, now)
    },

    /** Direct calls whose callers were told 503 and that this process will not make. */
    *abandonBegun({ processId: holder, ids }: AbandonRequest, now: number): Operation<void> {
      const occupied = (yield* together(ids.map((id) => occupy({ id, now })))).flat()
      yield* together(occupied.map(({ id }) => vacate({ id })))
      const failed = (yield* together(ids.map((id) => failBegun({ id, holder, now })))).flat()
      yield* keys.free(failed.map(({ id }) => id))
      yield* ended(failed, now)
    },

    *markStarted(prefixes: readonly string[]): Operation<void> {
      yield* markStarted({ prefixes: JSON.stringify(prefixes) })
    },
  }
}

/**
 * Those that the queue has room for, in their order. One that shares its key with an earlier one of the group takes no
 * room: the key will stand for that one.
 */
function fittingOf<Item extends Keyed>(items: readonly Item[], room: number): Item[] {
  const seen = new Set<string>()
  let left = room
  return items.filter(({ idempotency }) => {
    if (idempotency !== undefined && seen.has(idempotency.key)) return true
    if (left <= 0) return false
    left--
    if (idempotency !== undefined) seen.add(idempotency.key)
    return true
  })
}
