/** Spans of time by the store's clock, which may be set back: outside of one nobody waits. */

/** Milliseconds that are left of it; 0 when it has passed, or has not begun: then the clock was set back. */
export function leftOf(from: number | null, until: number | null, now: number): number {
  if (until === null || now >= until) return 0
  // A row of the last release, which wrote no beginning.
  if (from === null) return until - now
  return now < from ? 0 : until - now
}
