/** What still needs a workflow, whoever had it: asked after Temporal or the database came back from a backup. */
import type { FlightStart } from '../contracts/flights.ts'
import type { Dialect, Operation } from './statement.ts'
import type { LeftOpen } from './store.ts'
import { flightsFrom } from './unstarted.ts'

export function makeRecovery(dialect: Dialect) {
  // Reads everything once: an operator asks for it, nobody else.
  const members = dialect.prepare((db) =>
    db
      .selectFrom('predictions')
      .innerJoin('flights', 'flights.prefix', 'predictions.flight')
      .select(['prefix', 'process_id', 'flights.platform', 'lane', 'heartbeat_timeout_ms'])
      .select(['priority', 'fairness_key', 'streamed'])
      .select(['predictions.id', 'model_name', 'deadline_at'])
      .where((of) =>
        of.or([
          of('status', 'in', ['pending', 'running']),
          of('predictions.id', 'in', db.selectFrom('outbox').select('prediction_id')),
          of('predictions.id', 'in', db.selectFrom('jobs').select('jobs.id').where('cancel_due', '=', 1)),
        ]),
      )
      .orderBy('seq'),
  )
  const living = dialect.prepare((db) =>
    db.selectFrom('processes').select('id').where('role', '=', 'api').where('state', '!=', 'dead'),
  )
  const holding = dialect.prepare((db) =>
    db
      .selectFrom('predictions')
      .select('holder')
      .distinct()
      .where('flight', 'is', null)
      .where('status', '=', 'running')
      .where('holder', 'is not', null),
  )
  const owing = dialect.prepare((db) =>
    db
      .selectFrom('outbox')
      .innerJoin('predictions', 'predictions.id', 'outbox.prediction_id')
      .select('owner')
      .distinct()
      .where('owner', '!=', ''),
  )
  const deliveries = dialect.prepare((db) =>
    db.selectFrom('deliveries').select('id').where('status', '=', 'waiting').orderBy('seq'),
  )

  return {
    *leftOpen(): Operation<LeftOpen> {
      const flights: FlightStart[] = flightsFrom(yield* members({}), Date.now())
      const processes = new Set<string>()
      for (const { id } of yield* living({})) processes.add(id)
      for (const { holder } of yield* holding({})) if (holder !== null) processes.add(holder)
      for (const { owner } of yield* owing({})) processes.add(owner)
      const waiting = yield* deliveries({})
      return { flights, processes: [...processes], deliveries: waiting.map(({ id }) => id) }
    },
  }
}
