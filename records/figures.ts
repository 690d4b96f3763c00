/** How much is left to do, for metrics: counts and ages, each found by index. Changes nothing. */
import type { Dialect, Operation } from './statement.ts'
import type { StoreFigures } from './store.ts'

/** A mirror that is away for days must not make each scrape count millions. */
const mostCounted = 100_000

export function makeFigures(dialect: Dialect) {
  const open = dialect.prepare((db, p: { queue: string }) =>
    db
      .selectFrom('predictions')
      .select((of) => ['status', of.fn.countAll<number>().as('count')])
      .where('queue', '=', p.queue)
      .where('status', 'in', ['pending', 'running'])
      .groupBy('status'),
  )
  const overdue = dialect.prepare((db, p: { queue: string; before: number }) =>
    db
      .selectFrom('predictions')
      .select((of) => of.fn.countAll<number>().as('count'))
      .where('queue', '=', p.queue)
      .where('status', '=', 'running')
      .where('started_at', '<', p.before),
  )
  const oldestWaiting = dialect.prepare((db, p: { queue: string }) =>
    db
      .selectFrom('predictions')
      .select('created_at')
      .where('queue', '=', p.queue)
      .where('status', '=', 'pending')
      .orderBy('seq')
      .limit(1),
  )
  const jobs = dialect.prepare((db, p: { queue: string }) =>
    db
      .selectFrom('predictions')
      .innerJoin('jobs', 'jobs.id', 'predictions.id')
      .select((of) => of.fn.countAll<number>().as('count'))
      .where('queue', '=', p.queue)
      .where('status', 'in', ['pending', 'running'])
      .where('handle', 'is not', null),
  )
  const cancelsDue = dialect.prepare((db) =>
    db
      .selectFrom('jobs')
      .select((of) => of.fn.countAll<number>().as('count'))
      .where('cancel_due', '=', 1),
  )
  const unsent = dialect.prepare((db) =>
    db
      .selectFrom((inner) => inner.selectFrom('outbox').select('seq').limit(mostCounted).as('some'))
      .select((of) => of.fn.countAll<number>().as('count')),
  )
  const oldestUnsent = dialect.prepare((db) =>
    db.selectFrom('outbox').select('created_at').orderBy('seq').limit(1),
  )
  const deliveries = dialect.prepare((db) =>
    db
      .selectFrom('deliveries')
      .select((of) => of.fn.countAll<number>().as('count'))
      .where('status', '=', 'waiting'),
  )
  const validations = dialect.prepare((db) =>
    db
      .selectFrom('validations')
      .select((of) => of.fn.countAll<number>().as('count'))
      .where('status', '<>', 'ended'),
  )

  return {
    *figures(queue: string, overdueAfterMs: number): Operation<StoreFigures> {
      const rows = yield* open({ queue })
      const before = (yield* dialect.clock()) - overdueAfterMs
      return {
        waiting: rows.find(({ status }) => status === 'pending')?.count ?? 0,
        running: rows.find(({ status }) => status === 'running')?.count ?? 0,
        overdue: (yield* overdue({ queue, before }))[0]?.count ?? 0,
        oldestWaitingAt: (yield* oldestWaiting({ queue }))[0]?.created_at,
        providerJobs: (yield* jobs({ queue }))[0]?.count ?? 0,
        providerCancelsDue: (yield* cancelsDue({}))[0]?.count ?? 0,
        outbox: (yield* unsent({}))[0]?.count ?? 0,
        oldestOutboxAt: (yield* oldestUnsent({}))[0]?.created_at,
        deliveriesWaiting: (yield* deliveries({}))[0]?.count ?? 0,
        validationsOpen: (yield* validations({}))[0]?.count ?? 0,
      }
    },
  }
}
