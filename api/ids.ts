/** Makes prediction ids: UUID v4 in form; those of one flight share their first 18 characters (60 random bits). */
import { randomUUID } from 'node:crypto'
import { prefixLength } from '../contracts/names.ts'

export interface FlightIds {
  prefix: string
  ids: string[]
}

export function makeFlightIds(count: number): FlightIds {
  const prefix = randomUUID().slice(0, prefixLength)
  const ids = new Set<string>()
  // 62 random bits behind the prefix: a repeat is as good as impossible, and cheap to rule out.
  while (ids.size < count) ids.add(prefix + randomUUID().slice(prefixLength))
  return { prefix, ids: [...ids] }
}
