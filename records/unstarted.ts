/** Flights whose start nobody has confirmed, gathered with what their starts need. Starts none. */
import { sql } from 'kysely'
import type { FlightStart } from '../contracts/flights.ts'
import type { Lane, PlatformName } from '../contracts/names.ts'
import type { Endings } from './endings.ts'
import type { Dialect, Operation } from './statement.ts'
import type { UnstartedPage } from './store.ts'

/** A flight's row beside one of its members. */
export interface MemberRow {
  prefix: string
  process_id: string
  platform: PlatformName
  lane: Lane
  heartbeat_timeout_ms: number
  priority: number | null
  fairness_key: string
  streamed: number
  id: string
  model_name: string
  deadline_at: number | null
}

export interface UnstartedRequest {
  processId: string
  /** Prefix of a flight; those after it are listed. */
  after: string
}

/** Open, or ended (canceled before the flight started, perhaps) with somebody who is still to be told of it. */
export const needsFlight = sql<boolean>`(
  predictions.status in ('pending', 'running')
  or exists (select 1 from outbox where outbox.prediction_id = predictions.id)
  or exists (select 1 from jobs where jobs.id = predictions.id and jobs.cancel_due = 1)
)`

/** Members of one page; more than a flight can have. */
const pageRows = 2_000

export function makeUnstarted(dialect: Dialect, endings: Pick<Endings, 'endOverdue'>) {
  const members = dialect.prepare((db, p: { processId: string; after: string }) =>
    db
      .selectFrom('flights')
      .innerJoin('predictions', 'predictions.flight', 'flights.prefix')
      .select(['prefix', 'process_id', 'flights.platform', 'lane', 'heartbeat_timeout_ms'])
      .select(['priority', 'fairness_key', 'streamed'])
      .select(['predictions.id', 'model_name', 'deadline_at'])
      .where('process_id', '=', p.processId)
      .where('started', '=', 0)
      .where('prefix', '>', p.after)
      .where(needsFlight)
      .orderBy('prefix')
      .orderBy('seq')
      .limit(pageRows),
  )
  const overdue = dialect.prepare((db, p: { processId: string; now: number }) =>
    db
      .selectFrom('flights')
      .innerJoin('predictions', 'predictions.flight', 'flights.prefix')
      .select('predictions.id')
      .where('process_id', '=', p.processId)
      .where('started', '=', 0)
      .where('status', 'in', ['pending', 'running'])
      .where('deadline_at', '<=', p.now)
      .limit(pageRows),
  )

  return {
    /** Ends members past their deadlines; of the others a page in the order of their flights. */
    *page({ processId, after }: UnstartedRequest, now: number): Operation<UnstartedPage> {
      const late = yield* overdue({ processId, now })
      if (late.length > 0) {
        const ids = late.map(({ id }) => id)
        yield* endings.endOverdue(ids, now)
      }
      const rows = yield* members({ processId, after })
      const isLast = rows.length < pageRows
      // The last flight of a full page may lack members.
      const whole = isLast ? rows : rows.filter(({ prefix }) => prefix !== rows.at(-1)!.prefix)
      return { flights: flightsFrom(whole, now), isLast }
    },
  }
}

/** `now` is the store's clock: deadlines become spans. */
export function flightsFrom(rows: readonly MemberRow[], now: number): FlightStart[] {
  const flights = new Map<string, FlightStart>()
  for (const row of rows) {
    const flight = flights.get(row.prefix) ?? startOf(row)
    flights.set(row.prefix, flight)
    flight.ids.push(row.id)
    if (!flight.models.includes(row.model_name)) flight.models.push(row.model_name)
    if (row.deadline_at !== null) {
      const inMs = Math.max(0, row.deadline_at - now)
      flight.deadlineInMs = Math.min(inMs, flight.deadlineInMs ?? inMs)
    }
  }
  return [...flights.values()]
}

function startOf(row: MemberRow): FlightStart {
  return {
    prefix: row.prefix,
    platform: row.platform,
    lane: row.lane,
    heartbeatTimeoutMs: row.heartbeat_timeout_ms,
    ids: [],
    models: [],
    priority: row.priority ?? undefined,
    fairnessKey: row.fairness_key === '' ? undefined : row.fairness_key,
    streamer: row.streamed === 0 ? undefined : row.process_id,
  }
}
