/** `Prefer: wait[=n]` (RFC 7240): how long a caller wants to wait for a prediction. */

const longestWaitS = 60

/**
 * Milliseconds to wait, or undefined if the header does not ask for it. `wait` alone is 60 s, more is cut to 60 s;
 * what cannot be understood is ignored, as the RFC wants it.
 */
export function waitMsOf(prefer: string | undefined): number | undefined {
  if (prefer === undefined) return undefined
  for (const preference of prefer.split(',')) {
    const [, seconds] = /^\s*wait\s*(?:=\s*"?(\d{1,9})"?)?\s*(?:;.*)?$/i.exec(preference) ?? [undefined, null]
    if (seconds === null) continue
    if (seconds === undefined) return longestWaitS * 1000
    if (Number(seconds) >= 1) return Math.min(longestWaitS, Number(seconds)) * 1000
  }
  return undefined
}
