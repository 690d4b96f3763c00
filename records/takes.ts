/** Who may call the platform for a prediction now: take and release. Owns the budget, the attempts and the tokens. */
import { type ExpressionBuilder, sql } from 'kysely'
import { ServiceError } from '../contracts/errors.ts'
import { isTerminal } from '../contracts/statuses.ts'
import type { Outbox } from './outbox.ts'
import { leftOf } from './spans.ts'
import { both, type Dialect, type Operation } from './statement.ts'
import type { NotTaken, ProcessState, TakeLimits, Taken } from './store.ts'
import type { PredictionRow, Tables } from './tables.ts'

export interface TakeRequest {
  id: string
  processId: string
  limits: TakeLimits
  again: boolean
}

export interface ReleaseRequest {
  id: string
  token: number
  retryInMs: number
  code: string
}

/** In place of inputs that the take has not brought along. */
export const unread = ''

/** A whole group of takes reads no more behind its commit than its deadline allows. */
const smallBytes = 256 * 1024

/** A live holder writes its own timeout first; only when it has not after this long may another do so. */
const graceMs = 2_000

export function makeTakes(dialect: Dialect, outbox: Outbox) {
  const processStates = dialect.prepare((db, p: { ids: string }) =>
    dialect.sharing(db.selectFrom('processes').select(['id', 'state']).where(dialect.among('id', p.ids))),
  )
  // All rows, paused or not: a pause must wait for the takes that have read it, and the other way round.
  const queues = dialect.prepare((db) =>
    dialect.sharing(db.selectFrom('queues').select(['name', 'paused']).orderBy('name')),
  )
  const records = dialect.prepare((db, p: { ids: string }) =>
    dialect.locking(
      db
        .selectFrom('predictions')
        .select([
          'id',
          'status',
          'model_name',
          'model_version',
          'queue',
          'platform',
          'created_at',
          'started_at',
          'attempts',
          'failures',
          'token',
          'holder',
          'released_at',
          'retry_at',
          'retry_code',
          'webhook',
          'trace',
          'sync',
          'deadline_at',
        ])
        .where(dialect.among('id', p.ids))
        .orderBy('id'),
    ),
  )
  const smallInputs = dialect.prepare((db, p: { ids: string }) =>
    db
      .selectFrom('prediction_inputs')
      .select(['id', 'inputs'])
      .where(dialect.among('id', p.ids))
      .where(sql`octet_length(inputs)`, '<=', smallBytes),
  )
  const hold = dialect.prepare((db, p: { ids: string; holder: string; now: number }) =>
    db
      .updateTable('predictions')
      .set((of) => ({
        status: 'running',
        holder: p.holder,
        token: tokenAfter(of, p.now),
        attempts: of('attempts', '+', 1),
        started_at: of.fn.coalesce('started_at', of.val(p.now)),
        retry_at: null,
        retry_code: '',
      }))
      .where(dialect.among('id', p.ids)),
  )
  // The token moves on, so that no earlier call can write a failure; its success may still arrive and win.
  const close = dialect.prepare((db, p: { ids: string; now: number }) =>
    db
      .updateTable('predictions')
      .set((of) => ({
        token: tokenAfter(of, p.now),
        holder: null,
        retry_at: null,
      }))
      .where(dialect.among('id', p.ids)),
  )
  const letGo = dialect.prepare(
    (db, p: { id: string; token: number; now: number; retryAt: number; code: string }) =>
      db
        .updateTable('predictions')
        .set((of) => ({
          holder: null,
          released_at: p.now,
          retry_at: p.retryAt,
          retry_code: p.code,
          failures: of('failures', '+', 1),
        }))
        .where('id', '=', p.id)
        .where('token', '=', p.token)
        .where('status', '=', 'running')
        .where('holder', 'is not', null)
        .returning('id'),
  )

  return {
    /** All takes of one group, each id once: three round trips, however many they are. */
    *take(requests: readonly TakeRequest[], now: number): Operation<(Taken | NotTaken)[]> {
      const takers = [...new Set(requests.map((request) => request.processId))]
      const ids = requests.map((request) => request.id)
      // Locked in this order by everybody, though asked together.
      const [processRows, [queueRows, recordRows]] = yield* both(
        processStates({ ids: JSON.stringify(takers) }),
        both(queues({}), records({ ids: JSON.stringify(ids) })),
      )
      const states = new Map<string, ProcessState>(processRows.map((row) => [row.id, row.state]))
      for (const taker of takers) refuseGone(states.get(taker))
      const paused = new Set(queueRows.filter((row) => row.paused === 1).map((row) => row.name))
      const rows = new Map<string, Row>(recordRows.map((row) => [row.id, row]))
      const holders = [...rows.values()].flatMap(({ holder }) =>
        holder === null || states.has(holder) ? [] : [holder],
      )
      if (holders.length > 0) {
        for (const row of yield* processStates({ ids: JSON.stringify(holders) }))
          states.set(row.id, row.state)
      }

      const verdicts = requests.map((request) =>
        judge(request, rows.get(request.id), { now, paused, states }),
      )
      for (const taker of takers) {
        const taken = idsOf(requests, verdicts, ({ outcome }) => outcome === 'taken', taker)
        if (taken.length === 0) continue
        yield* hold({ ids: JSON.stringify(taken), holder: taker, now })
        const started = taken.flatMap((id) => {
          const row = rows.get(id)
          return row?.status === 'pending' ? [row] : []
        })
        yield* outbox.changed(
          started.map(({ id }) => id),
          now,
        )
        yield* outbox.happened('start', started, now)
      }
      const over = idsOf(
        requests,
        verdicts,
        ({ outcome }) => outcome === 'timed_out' || outcome === 'exhausted',
      )
      if (over.length > 0) yield* close({ ids: JSON.stringify(over), now })
      return verdicts
    },

    /** Large ones stay `unread`: each is worth a read, and a deadline, of its own. */
    *readInputs(requests: readonly TakeRequest[], verdicts: readonly (Taken | NotTaken)[]): Operation<void> {
      const taken = idsOf(requests, verdicts, ({ outcome }) => outcome === 'taken')
      if (taken.length === 0) return
      const texts = new Map(
        (yield* smallInputs({ ids: JSON.stringify(taken) })).map((row) => [row.id, row.inputs]),
      )
      for (const [at, verdict] of verdicts.entries()) {
        if (verdict.outcome === 'taken') verdict.inputs = texts.get(requests[at]?.id ?? '') ?? unread
      }
    },

    *release({ id, token, retryInMs, code }: ReleaseRequest, now: number): Operation<boolean> {
      return (yield* letGo({ id, token, now, retryAt: now + retryInMs, code })).length > 0
    },
  }
}

/** Greater than any before it, also than one that the database has lost: no two calls share a token. */
function tokenAfter(of: ExpressionBuilder<Tables, 'predictions'>, now: number) {
  return of
    .case()
    .when('token', '<', now)
    .then(of.val(now))
    .else(of('token', '+', 1))
    .end()
}

type Row = Pick<
  PredictionRow,
  | 'id'
  | 'status'
  | 'model_name'
  | 'model_version'
  | 'queue'
  | 'platform'
  | 'created_at'
  | 'started_at'
  | 'attempts'
  | 'failures'
  | 'token'
  | 'holder'
  | 'released_at'
  | 'retry_at'
  | 'retry_code'
  | 'webhook'
  | 'trace'
  | 'sync'
  | 'deadline_at'
>

interface Circumstances {
  now: number
  paused: ReadonlySet<string>
  states: ReadonlyMap<string, ProcessState>
}

/** The rule itself, free of I/O. */
function judge(request: TakeRequest, row: Row | undefined, at: Circumstances): Taken | NotTaken {
  if (row === undefined) return { outcome: 'unknown' }
  const owed = row.webhook === '' ? {} : { owes: true as const }
  const traced = row.trace === '' ? {} : { trace: row.trace }
  if (isTerminal(row.status)) return { outcome: 'terminal', status: row.status, ...owed }
  const { taskTimeoutMs, maxAttempts } = request.limits
  const untilDeadlineMs = row.deadline_at === null ? Number.POSITIVE_INFINITY : row.deadline_at - at.now
  if (untilDeadlineMs <= 0) return { outcome: 'overdue' }
  const spentMs = row.started_at === null ? 0 : Math.max(0, at.now - row.started_at)
  const remainingMs = taskTimeoutMs - spentMs
  const token = Math.max(row.token + 1, at.now)
  if (row.holder !== null && isInLiveHands(request, row.holder, at)) {
    return remainingMs + graceMs > 0
      ? { outcome: 'held', holder: row.holder, remainingMs: remainingMs + graceMs }
      : { outcome: 'timed_out', token }
  }
  if (remainingMs <= 0) return { outcome: 'timed_out', token }
  if (row.attempts >= maxAttempts) return { outcome: 'exhausted', token }
  if (row.status === 'pending' && row.sync === 0 && at.paused.has(row.queue)) return { outcome: 'paused' }
  const retryInMs = leftOf(row.released_at, row.retry_at, at.now)
  if (retryInMs > 0) return { outcome: 'waiting', retryInMs, code: row.retry_code }
  const { failures, platform, model_name: modelName, model_version: modelVersion } = row
  const times = {
    // The flight ends it at its deadline; only when it has not by then does the call give up by itself.
    remainingMs: Math.min(remainingMs, untilDeadlineMs + graceMs),
    spentMs,
    createdAtMs: row.created_at,
    startedAtMs: row.started_at ?? at.now,
  }
  const model = { modelName, modelVersion, platform }
  return { outcome: 'taken', token, failures, ...times, ...model, inputs: unread, ...traced, ...owed }
}

function isInLiveHands(request: TakeRequest, holder: string, { states }: Circumstances): boolean {
  if (holder === request.processId) return !request.again
  const state = states.get(holder)
  return state !== undefined && state !== 'dead'
}

function refuseGone(state: ProcessState | undefined): void {
  if (state === undefined) throw new ServiceError('draining', 'This process is not registered in the store')
  if (state === 'dead') throw new ServiceError('draining', 'This process was declared dead and must exit')
}

function idsOf(
  requests: readonly TakeRequest[],
  verdicts: readonly (Taken | NotTaken)[],
  matches: (verdict: Taken | NotTaken) => boolean,
  taker?: string,
): string[] {
  return requests.flatMap(({ id, processId }, index) => {
    const verdict = verdicts[index]
    const wanted = taker === undefined || processId === taker
    return wanted && verdict !== undefined && matches(verdict) ? [id] : []
  })
}
