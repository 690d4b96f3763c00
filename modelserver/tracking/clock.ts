/** When a request began: wall clock to the microsecond, as records print it, and a monotonic time to measure from. */

/** The beginning of handling one request. */
export interface Start {
  /** Milliseconds since 1970 with a fraction that holds microseconds. */
  readonly epochMs: number
  /** Monotonic milliseconds (`performance.now`). */
  readonly monoMs: number
}

// `performance.now` runs on when the wall clock is set; beyond this the difference is taken anew.
const toleratedDriftMs = 2
let offsetMs = Date.now() - performance.now()

export function startClock(): Start {
  const monoMs = performance.now()
  const wallMs = Date.now()
  if (Math.abs(wallMs - monoMs - offsetMs) > toleratedDriftMs) offsetMs = wallMs - monoMs
  return { epochMs: offsetMs + monoMs, monoMs }
}

/** `2026-11-22 01:34:06.602644+00:00`: UTC, always 32 characters. */
export function formatWhen(epochMs: number): string {
  const micros = Math.floor(epochMs * 1000)
  const iso = new Date(Math.floor(micros / 1000)).toISOString()
  const rest = String(micros % 1000).padStart(3, '0')
  return `${iso.slice(0, 10)} ${iso.slice(11, 23)}${rest}+00:00`
}

/** Whole microseconds since `start`. */
export function microsecSince(start: Start): number {
  return Math.round((performance.now() - start.monoMs) * 1000)
}
