/** The queue as a whole: pause, who waits, how many, how long a model takes. Changes no prediction. */
import type { Dialect, Operation } from './statement.ts'
import type { QueueCounts, WaitingFlights } from './store.ts'

/** How many of a model's latest successes tell its run time. */
const sampleSize = 20

export function makeQueues(dialect: Dialect) {
  const insertPaused = dialect.prepare((db, p: { name: string }) =>
    db
      .insertInto('queues')
      .values({ name: p.name, paused: 1 })
      .onConflict((conflict) =>
        conflict.column('name').doUpdateSet({ paused: 1 }).where('queues.paused', '=', 0),
      )
      .returning('name'),
  )
  const setUnpaused = dialect.prepare((db, p: { name: string }) =>
    db
      .updateTable('queues')
      .set({ paused: 0 })
      .where('name', '=', p.name)
      .where('paused', '=', 1)
      .returning('name'),
  )
  const waitingFlights = dialect.prepare((db, p: { queue: string; after: number; limit: number }) =>
    db
      .selectFrom('predictions')
      .select((of) => ['flight', of.fn.min('seq').as('first')])
      .where('queue', '=', p.queue)
      .where('status', '=', 'pending')
      .where('flight', 'is not', null)
      .where('seq', '>', p.after)
      .groupBy('flight')
      .orderBy('first')
      .limit(p.limit),
  )
  const heldFlights = dialect.prepare((db, p: { holder: string }) =>
    db
      .selectFrom('predictions')
      .select('flight')
      .distinct()
      .where('holder', '=', p.holder)
      .where('flight', 'is not', null),
  )
  const counts = dialect.prepare((db, p: { queue: string }) =>
    db
      .selectFrom('predictions')
      .select((of) => ['status', of.fn.countAll<number>().as('count')])
      .where('queue', '=', p.queue)
      .where('status', 'in', ['pending', 'running'])
      .groupBy('status'),
  )
  const runTime = dialect.prepare((db, p: { modelName: string; limit: number }) =>
    db
      .selectFrom((inner) =>
        inner
          .selectFrom('predictions')
          .select('run_ms')
          .where('model_name', '=', p.modelName)
          .where('status', '=', 'succeeded')
          .orderBy('seq', 'desc')
          .limit(p.limit)
          .as('latest'),
      )
      .select((of) => of.fn.avg<number | null>('run_ms').as('mean')),
  )

  return {
    *pause(queue: string): Operation<boolean> {
      return (yield* insertPaused({ name: queue })).length > 0
    },

    *unpause(queue: string): Operation<boolean> {
      return (yield* setUnpaused({ name: queue })).length > 0
    },

    /** The oldest waiting member of a flight only moves on, so no page passes one by; its later members may name it again. */
    *waitingFlights(queue: string, after: number, limit: number): Operation<WaitingFlights> {
      const rows = yield* waitingFlights({ queue, after, limit })
      const prefixes = rows.flatMap(({ flight }) => flight ?? [])
      return { prefixes, next: rows.length < limit ? undefined : rows.at(-1)?.first }
    },

    *flightsHeldBy(holder: string): Operation<string[]> {
      return (yield* heldFlights({ holder })).flatMap(({ flight }) => flight ?? [])
    },

    *count(queue: string): Operation<QueueCounts> {
      const rows = yield* counts({ queue })
      const of = (status: string) => rows.find((row) => row.status === status)?.count ?? 0
      return { waiting: of('pending'), running: of('running') }
    },

    *meanRunMs(modelName: string): Operation<number | undefined> {
      return (yield* runTime({ modelName, limit: sampleSize }))[0]?.mean ?? undefined
    },
  }
}
