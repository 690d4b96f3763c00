/** How often and how soon a failed platform call may be repeated (prediction-agent specification, 5.1). Pure. */
import { codeOf, retryable, ServiceError } from './errors.ts'

/** Platform calls of one prediction that may end in a transient failure. */
export const maxTransientFailures = 5

/** Calls begun for one prediction, crashes of the caller included: bounds a prediction that kills its worker. */
export const maxAttempts = 12

const firstDelayMs = 500
const longestDelayMs = 30_000

/**
 * Milliseconds to wait before the next call, or undefined if there must be none.
 * `failures` counts transient failures so far, this one included; `random` is 0..1.
 */
export function retryDelayMs(error: unknown, failures: number, random: number): number | undefined {
  if (!retryable[codeOf(error)] || failures >= maxTransientFailures) return undefined
  const asked = error instanceof ServiceError ? error.retryAfterMs : undefined
  if (asked !== undefined) return asked
  const ceiling = Math.min(longestDelayMs, firstDelayMs * 2 ** (failures - 1))
  return Math.round(ceiling * (0.5 + random / 2))
}

const longestRetryAfterMs = 24 * 3_600_000

/** Milliseconds that a `Retry-After` header asks for, as seconds or as an HTTP date; undefined if it says nothing. */
export function retryAfter(value: string | string[] | undefined, nowMs: number): number | undefined {
  const text = (Array.isArray(value) ? value[0] : value)?.trim()
  if (text === undefined || text === '') return undefined
  const ms = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text) - nowMs
  return Number.isFinite(ms) ? Math.min(longestRetryAfterMs, Math.max(0, Math.round(ms))) : undefined
}
