/** Flights as whoever starts them needs them, gathered from the rows of their members. */
import type { FlightStart } from '../contracts/flights.ts'
import type { Lane, PlatformName } from '../contracts/names.ts'

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

/** `now` is the store's clock, or near it: deadlines become spans. */
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
