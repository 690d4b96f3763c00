/** What needs a workflow of ours, whoever has it: asked by the ownership check and by `recover`, page by page. */
import { sql } from 'kysely'
import type { FlightStart } from '../contracts/flights.ts'
import { platformLanes } from '../contracts/names.ts'
import type { LeftOpen, OwnedKind } from '../contracts/ownership.ts'
import type { Dialect, Operation } from './statement.ts'
import type { LeftOpenPage } from './store.ts'
import { flightsFrom, needsFlight } from './unstarted.ts'

export const pageOfLeftOpen = 500

/** Of a flight whose row is missing: the least of those in use. */
const standardHeartbeatMs = 2_000

/** `before`: what is newer is left out. */
type PageOf = { queue: string; before: number; after: string }

export function makeRecovery(dialect: Dialect) {
  // From the left: a record whose flight's row is missing is a fault, not invisible.
  const flights = dialect.prepare((db, p: PageOf) =>
    db
      .selectFrom((open) =>
        open
          .selectFrom('predictions')
          .select(['flight', 'created_at as since'])
          .where('queue', '=', p.queue)
          .where('status', 'in', ['pending', 'running'])
          .where('flight', '>', p.after)
          .where('created_at', '<=', p.before)
          .unionAll(
            open
              .selectFrom('outbox')
              .innerJoin('predictions', 'predictions.id', 'outbox.prediction_id')
              .select(['flight', 'outbox.created_at as since'])
              .where('queue', '=', p.queue)
              .where('flight', '>', p.after)
              .where('outbox.created_at', '<=', p.before),
          )
          .unionAll(
            open
              .selectFrom('jobs')
              .innerJoin('predictions', 'predictions.id', 'jobs.id')
              .select(['flight', 'predictions.created_at as since'])
              .where('cancel_due', '=', 1)
              .where('queue', '=', p.queue)
              .where('flight', '>', p.after)
              .where('predictions.created_at', '<=', p.before),
          )
          .as('members'),
      )
      .leftJoin('flights', 'flights.prefix', 'members.flight')
      .select((of) => ['members.flight as id', 'started', 'process_id', of.fn.min('since').as('since')])
      .groupBy(['members.flight', 'started', 'process_id'])
      .orderBy('members.flight')
      .limit(pageOfLeftOpen),
  )
  const guards = dialect.prepare((db, p: PageOf) =>
    db
      .selectFrom((open) =>
        open
          .selectFrom('processes')
          .select(['id as process', 'created_at as since'])
          .where('role', '=', 'api')
          .where('state', '!=', 'dead')
          .where('id', '>', p.after)
          .where('created_at', '<=', p.before)
          .unionAll(
            open
              .selectFrom('predictions')
              .select(['holder as process', 'created_at as since'])
              .where('queue', '=', p.queue)
              .where('status', '=', 'running')
              .where('flight', 'is', null)
              .where('holder', '>', p.after)
              .where('created_at', '<=', p.before)
              .$narrowType<{ process: string }>(),
          )
          .unionAll(
            open
              .selectFrom('outbox')
              .innerJoin('predictions', 'predictions.id', 'outbox.prediction_id')
              .select(['owner as process', 'outbox.created_at as since'])
              .where('queue', '=', p.queue)
              .where('owner', '>', p.after)
              .where('outbox.created_at', '<=', p.before),
          )
          .as('held'),
      )
      .leftJoin('processes', 'processes.id', 'held.process')
      .select((of) => ['held.process as id', 'state', of.fn.min('since').as('since')])
      .groupBy(['held.process', 'state'])
      .orderBy('held.process')
      .limit(pageOfLeftOpen),
  )
  const deliveries = dialect.prepare((db, p: PageOf) =>
    db
      .selectFrom('deliveries')
      .leftJoin('predictions', 'predictions.id', 'deliveries.prediction_id')
      .leftJoin('outbox', (on) =>
        on
          .onRef('outbox.prediction_id', '=', 'deliveries.prediction_id')
          .on('outbox.kind', '=', 'webhook')
          .on('outbox.body', '=', sql<string>`'"' || deliveries.id || '"'`),
      )
      .select(['deliveries.id', 'outbox.seq as message', 'deliveries.created_at as since'])
      .where('deliveries.status', '=', 'waiting')
      .where('deliveries.id', '>', p.after)
      // Of a prediction that has expired the queue is not known any more.
      .where((is) => is.or([is('queue', '=', p.queue), is('queue', 'is', null)]))
      .where('deliveries.created_at', '<=', p.before)
      .orderBy('deliveries.id')
      .limit(pageOfLeftOpen),
  )
  const validations = dialect.prepare((db, p: Omit<PageOf, 'queue'>) =>
    db
      .selectFrom('validations')
      .select(['id', 'created_at as since'])
      .where('status', '<>', 'ended')
      .where('id', '>', p.after)
      .where('created_at', '<=', p.before)
      .orderBy('id')
      .limit(pageOfLeftOpen),
  )
  const members = dialect.prepare((db, p: { prefixes: string }) =>
    db
      .selectFrom('predictions')
      .leftJoin('flights', 'flights.prefix', 'predictions.flight')
      .select(['predictions.flight', 'predictions.platform', 'process_id', 'lane', 'heartbeat_timeout_ms'])
      .select(['priority', 'fairness_key', 'streamed'])
      .select(['predictions.id', 'model_name', 'deadline_at'])
      .where(dialect.among('predictions.flight', p.prefixes))
      .where(needsFlight)
      .orderBy('seq'),
  )

  const pages = {
    *flight(page) {
      const rows = yield* flights(page)
      return rows.map(({ id, since, started, process_id: processId }) => ({
        id: id ?? '',
        since,
        unstartedBy: started === 0 ? (processId ?? undefined) : undefined,
      }))
    },
    *guard(page) {
      const rows = yield* guards(page)
      return rows.map(({ state, ...row }) => ({ ...row, unopened: state === 'new' }))
    },
    *delivery(page) {
      const rows = yield* deliveries(page)
      return rows.map(({ message, ...row }) => ({ ...row, unsent: message !== null }))
    },
    *validation({ before, after }) {
      return yield* validations({ before, after })
    },
  } satisfies Record<OwnedKind, (page: PageOf) => Operation<(Omit<LeftOpen, 'ageMs'> & { since: number })[]>>

  return {
    *leftOpen({ kind, queue, minAgeMs, after = '' }: LeftOpenPage): Operation<LeftOpen[]> {
      const now = yield* dialect.clock()
      const rows = yield* pages[kind]({ queue, before: now - minAgeMs, after })
      return rows.map(({ since, ...row }) => ({ ...row, ageMs: now - since }))
    },

    *flightStarts(prefixes: readonly string[]): Operation<FlightStart[]> {
      const rows = yield* members({ prefixes: JSON.stringify(prefixes) })
      const known = rows.map((row) => ({
        ...row,
        prefix: row.flight ?? '',
        process_id: row.process_id ?? '',
        lane: row.lane ?? platformLanes[row.platform],
        heartbeat_timeout_ms: row.heartbeat_timeout_ms ?? standardHeartbeatMs,
        fairness_key: row.fairness_key ?? '',
        streamed: row.streamed ?? 0,
      }))
      return flightsFrom(known, yield* dialect.clock())
    },
  }
}
