/** How provider jobs are created and polled: what may be repeated, and how soon (prediction-agent specification, 5.1, 5.3). Pure. */
import { codeOf, type ErrorCode, retryable, ServiceError } from './errors.ts'
import { retryDelayMs } from './retry.ts'

/** After these a job may exist although no id came back. */
const ambiguousCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'platform_connection_lost',
  'platform_timeout',
  'platform_error',
])

/**
 * Milliseconds to wait before the creation is tried again, or undefined if it must not be. `failures` counts this one
 * too; `ambiguous` counts failures that left open whether a job exists, this one too: the second of them is final,
 * since a duplicate is bounded by the provider's deadline and two are not worth it.
 */
export function createDelayMs(
  error: unknown,
  failures: number,
  ambiguous: number,
  random: number,
): number | undefined {
  if (!isAmbiguousCreate(error)) return retryDelayMs(error, failures, random)
  return ambiguous > 1 ? undefined : retryDelayMs(new ServiceError('platform_busy', ''), failures, random)
}

/** Whether a failed creation leaves open if a job exists. */
export function isAmbiguousCreate(error: unknown): boolean {
  return ambiguousCodes.has(codeOf(error))
}

const firstPauseMs = 750
const longestPauseMs = 5_000
const growth = 1.4
const jitter = 1 / 3

/**
 * Milliseconds between poll number `polls` (1 = the first, which is made at once) and the next: 0.5–1 s growing to
 * about 5 s, never sooner than the provider asked for. `random` is 0..1.
 */
export function pollPauseMs(polls: number, random: number, retryAfterMs = 0): number {
  const middle = Math.min(longestPauseMs, firstPauseMs * growth ** Math.max(0, polls - 1))
  return Math.max(retryAfterMs, Math.round(middle * (1 - jitter + 2 * jitter * random)))
}

/** Whether a failed poll ends the prediction. All else is a bad moment of a job that runs on: poll again. */
export function isFinalPoll(error: unknown): boolean {
  const code = codeOf(error)
  return !(retryable[code] || ambiguousCodes.has(code) || code === 'platform_bad_answer')
}
