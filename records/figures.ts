/** How much is left to do, for metrics: counts and ages, each found by index. Changes nothing. */
import type { Dialect, Operation } from './statement.ts'
import type { StoreFigures } from './store.ts'

export function makeFigures(dialect: Dialect) {
  const open = dialect.prepare((db, p: { queue: string }) =>
    db
      .selectFrom('predictions')
      .select((of) => ['status', of.fn.countAll<number>().as('count'), of.fn.min('created_at').as('oldest')])
      .where('queue', '=', p.queue)
      .where('status', 'in', ['pending', 'running'])
      .groupBy('status'),
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
      .selectFrom('outbox')
      .select((of) => [of.fn.countAll<number>().as('count'), of.fn.min('created_at').as('oldest')]),
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
    *figures(queue: string): Operation<StoreFigures> {
      const rows = yield* open({ queue })
      const waiting = rows.find(({ status }) => status === 'pending')
      const [outbox] = yield* unsent({})
      return {
        waiting: waiting?.count ?? 0,
        running: rows.find(({ status }) => status === 'running')?.count ?? 0,
        oldestWaitingAt: waiting?.oldest ?? undefined,
        providerJobs: (yield* jobs({ queue }))[0]?.count ?? 0,
        providerCancelsDue: (yield* cancelsDue({}))[0]?.count ?? 0,
        outbox: outbox?.count ?? 0,
        oldestOutboxAt: outbox?.oldest ?? undefined,
        deliveriesWaiting: (yield* deliveries({}))[0]?.count ?? 0,
        validationsOpen: (yield* validations({}))[0]?.count ?? 0,
      }
    },
  }
}
