/** How records end: transition, cancel, delete pending, settle. Terminal statuses absorb; the first write wins. */
import { isTerminal, type TerminalStatus } from '../contracts/statuses.ts'
import type { Ordered } from './delivery-rows.ts'
import type { Jobs } from './jobs.ts'
import type { Outbox } from './outbox.ts'
import { type Dialect, type Operation, together } from './statement.ts'
import type {
  CancelResult,
  DeletedPending,
  Overdue,
  Settled,
  TransitionFields,
  TransitionResult,
} from './store.ts'

export interface TransitionRequest {
  id: string
  to: TerminalStatus
  fields: TransitionFields
  token: number | undefined
}

export type Endings = ReturnType<typeof makeEndings>

export function makeEndings(dialect: Dialect, outbox: Outbox, jobs: Jobs) {
  const standing = dialect.prepare((db, p: { ids: string }) =>
    dialect.locking(
      db
        .selectFrom('predictions')
        .select(['id', 'status', 'token', 'webhook', 'deadline_at'])
        .where(dialect.among('id', p.ids))
        .orderBy('id'),
    ),
  )
  const end = dialect.prepare(
    (
      db,
      p: {
        id: string
        status: TerminalStatus
        runningTime: string
        errorInfo: string
        errorCode: string
        runMs: number | null
        now: number
      },
    ) =>
      db
        .updateTable('predictions')
        .set({
          status: p.status,
          running_time: p.runningTime,
          error_info: p.errorInfo,
          error_code: p.errorCode,
          run_ms: p.runMs,
          ended_at: p.now,
          holder: null,
          retry_at: null,
        })
        .where('id', '=', p.id),
  )
  const insertOutputs = dialect.prepare((db, p: { id: string; outputs: string }) =>
    db
      .insertInto('prediction_outputs')
      .values({ id: p.id, outputs: p.outputs })
      .onConflict((conflict) => conflict.column('id').doUpdateSet({ outputs: p.outputs })),
  )
  const countPending = dialect.prepare((db, p: { queue: string }) =>
    db
      .selectFrom('predictions')
      .select((of) => of.fn.countAll<number>().as('pending'))
      .where('queue', '=', p.queue)
      .where('status', '=', 'pending'),
  )
  // An empty model name means every model: names are never empty.
  const cancelPending = dialect.prepare((db, p: { queue: string; modelName: string; now: number }) =>
    db
      .updateTable('predictions')
      .set({ status: 'canceled', error_code: 'prediction_canceled', ended_at: p.now })
      .where('queue', '=', p.queue)
      .where('status', '=', 'pending')
      .where((is) => is.or([is(is.val(p.modelName), '=', ''), is('model_name', '=', p.modelName)]))
      .returning(['id', 'webhook', 'flight']),
  )
  const dated = dialect.prepare((db, p: { ids: string }) =>
    dialect.locking(
      db
        .selectFrom('predictions')
        .select(['id', 'webhook', 'queue', 'started_at', 'deadline_at'])
        .where(dialect.among('id', p.ids))
        .where('deadline_at', 'is not', null)
        .where('status', 'in', ['pending', 'running'])
        .orderBy('id'),
    ),
  )
  const pausedQueue = dialect.prepare((db, p: { name: string }) =>
    db.selectFrom('queues').select('paused').where('name', '=', p.name),
  )
  const processState = dialect.prepare((db, p: { id: string }) =>
    db.selectFrom('processes').select('state').where('id', '=', p.id),
  )
  const interrupt = dialect.prepare((db, p: { holder: string; errorInfo: string; now: number }) =>
    db
      .updateTable('predictions')
      .set({
        status: 'failed',
        error_info: p.errorInfo,
        error_code: 'interrupted',
        ended_at: p.now,
        holder: null,
      })
      .where('holder', '=', p.holder)
      .where('flight', 'is', null)
      .where('status', '=', 'running')
      .returning(['id', 'webhook']),
  )

  /** Why a prediction has not begun by its deadline: the state of its queue. */
  function* waitedFor(queue: string): Operation<string> {
    const [is] = yield* pausedQueue({ name: queue })
    const pending = (yield* countPending({ queue }))[0]?.pending ?? 0
    return `the deadline passed before the start: ${is?.paused === 1 ? 'the queue is paused, ' : ''}${pending} waiting`
  }

  function* ended(rows: readonly Ordered[], now: number): Operation<void> {
    yield* outbox.changed(
      rows.map(({ id }) => id),
      now,
    )
    yield* outbox.happened('completed', rows, now)
  }

  return {
    /** All transitions of one group, each id once. */
    *transition(requests: readonly TransitionRequest[], now: number): Operation<TransitionResult[]> {
      const ids = JSON.stringify(requests.map((request) => request.id))
      const rows = new Map((yield* standing({ ids })).map((row) => [row.id, row]))
      const results: TransitionResult[] = []
      const changed: Ordered[] = []
      const writes: Operation<unknown>[] = []
      for (const { id, to, fields, token } of requests) {
        const row = rows.get(id)
        if (row === undefined) {
          results.push({ changed: false, status: 'unknown' })
        } else if (isTerminal(row.status) || (to === 'failed' && token !== row.token)) {
          results.push({ changed: false, status: row.status })
        } else {
          const { ended, given } = byDeadline(row, to, fields, now)
          writes.push(end({ id, status: ended, ...endFields(given, ended), now }))
          if (fields.outputs !== undefined) writes.push(insertOutputs({ id, outputs: fields.outputs }))
          if (fields.cancelJob === true) writes.push(jobs.cancelDue([id]))
          results.push({ changed: true, status: ended })
          changed.push(row)
        }
      }
      yield* together(writes)
      yield* ended(changed, now)
      return results
    },

    *cancel(id: string, now: number): Operation<CancelResult> {
      const [row] = yield* standing({ ids: JSON.stringify([id]) })
      if (row === undefined) return { outcome: 'unknown' }
      if (row.status === 'canceled') return { outcome: 'already_canceled' }
      if (isTerminal(row.status)) return { outcome: 'terminal', status: row.status }
      yield* end({
        id,
        status: 'canceled',
        ...endFields({ errorCode: 'prediction_canceled' }, 'canceled'),
        now,
      })
      yield* jobs.cancelDue([id])
      yield* ended([row], now)
      return { outcome: 'canceled' }
    },

    *endOverdue(predictionIds: readonly string[], now: number): Operation<Overdue> {
      const open = yield* dated({ ids: JSON.stringify(predictionIds) })
      const due = open.filter((row) => row.deadline_at !== null && row.deadline_at <= now)
      // Counting costs the more the more wait: once for all.
      const reasons = new Map<string, string>()
      for (const { queue, started_at } of due) {
        if (started_at === null && !reasons.has(queue)) reasons.set(queue, yield* waitedFor(queue))
      }
      yield* together(
        due.map(({ id, queue, started_at }) => {
          const begun = started_at !== null
          const fields: TransitionFields = begun
            ? { errorCode: 'prediction_canceled', errorInfo: deadlineText }
            : { errorCode: 'prediction_aborted', errorInfo: reasons.get(queue) ?? '' }
          return end({ id, status: 'canceled', ...endFields(fields, 'canceled'), now })
        }),
      )
      yield* jobs.cancelDue(due.map(({ id }) => id))
      yield* ended(due, now)
      const later = open.flatMap(({ deadline_at: at }) => (at !== null && at > now ? [at - now] : []))
      return { ended: due.map(({ id }) => id), ...(later.length > 0 && { nextMs: Math.min(...later) }) }
    },

    *deletePending(queue: string, modelName: string | undefined, now: number): Operation<DeletedPending> {
      const pending = (yield* countPending({ queue }))[0]?.pending ?? 0
      const rows = yield* cancelPending({ queue, modelName: modelName ?? '', now })
      yield* ended(rows, now)
      // Another admission may slip in between the two statements where writers are not alone.
      const flights = [...new Set(rows.flatMap(({ flight }) => flight ?? []))]
      return { deleted: rows.length, pending: Math.max(pending, rows.length), flights }
    },

    *settle(processId: string, errorInfo: string, now: number): Operation<Settled> {
      const [process] = yield* processState({ id: processId })
      if (process !== undefined && process.state !== 'dead') return { isAlive: true, interrupted: 0 }
      const interrupted = yield* interrupt({ holder: processId, errorInfo, now })
      yield* ended(interrupted, now)
      return { isAlive: false, interrupted: interrupted.length }
    },
  }
}

const deadlineText = 'the deadline passed while it ran'

/** Out of time and past its own deadline: the deadline is what ended it. */
function byDeadline(
  { deadline_at: deadline }: { deadline_at: number | null },
  to: TerminalStatus,
  given: TransitionFields,
  now: number,
): { ended: TerminalStatus; given: TransitionFields } {
  const isOverdue =
    to === 'failed' && given.errorCode === 'prediction_timeout' && deadline !== null && deadline <= now
  if (!isOverdue) return { ended: to, given }
  const because = { errorCode: 'prediction_canceled', errorInfo: deadlineText }
  return { ended: 'canceled', given: { ...given, ...because } }
}

function endFields(fields: TransitionFields, to: TerminalStatus) {
  return {
    runningTime: fields.runningTime ?? '',
    errorInfo: fields.errorInfo ?? '',
    errorCode: fields.errorCode ?? '',
    // Failures would draw the mean of successes towards nothing or towards the timeout.
    runMs: to === 'succeeded' ? (fields.runMs ?? null) : null,
  }
}
