/** Flights as whoever starts them needs them, gathered from the rows of their members. */
import type { UnstartedFlight } from '../contracts/flights.ts'
import type { Lane, PlatformName } from '../contracts/names.ts'

/** A flight's row beside one of its members. */
export interface MemberRow {
  prefix: string
  platform: PlatformName
  lane: Lane
  heartbeat_timeout_ms: number
  id: string
  model_name: string
  deadline_at: number | null
}

/** `now` is the store's clock, or near it: deadlines become spans. */
export function flightsFrom(rows: readonly MemberRow[], now: number): UnstartedFlight[] {
  const flights = new Map<string, UnstartedFlight>()
  for (const row of rows) {
    const { prefix, platform, lane, heartbeat_timeout_ms: heartbeatTimeoutMs } = row
    const flight: UnstartedFlight = flights.get(prefix) ?? {
      prefix,
      platform,
      lane,
      heartbeatTimeoutMs,
      ids: [],
      models: [],
    }
    flight.ids.push(row.id)
    if (!flight.models.includes(row.model_name)) flight.models.push(row.model_name)
    if (row.deadline_at !== null) {
      const inMs = Math.max(0, row.deadline_at - now)
      flight.deadlineInMs = Math.min(inMs, flight.deadlineInMs ?? inMs)
    }
    flights.set(prefix, flight)
  }
  return [...flights.values()]
}
