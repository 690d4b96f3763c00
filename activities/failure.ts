/** The one place where a `ServiceError` becomes a Temporal failure: its code is the failure's `type`. */
import { ApplicationFailure } from '@temporalio/activity'
import { codeOf, retryable } from '../contracts/errors.ts'

const validationCode = /^[A-Z_]+$/

export function toFailure(error: unknown): Error {
  if (error instanceof ApplicationFailure) return error
  if (error instanceof Error && error.name === 'CancelledFailure') return error
  const code = codeOf(error)
  const message = error instanceof Error ? error.message : String(error)
  return ApplicationFailure.create({
    message,
    type: code,
    // An unforeseen error may pass: a flight must not end because of one.
    nonRetryable: code !== 'internal' && !retryable[code],
    // A candidate that fails is what validations are for: no warning in the log.
    ...(validationCode.test(code) && { category: 'BENIGN' }),
  })
}

/** Wraps every activity of a table, so that whatever it throws carries a code. */
export function withFailures<A extends { [K in keyof A]: (...args: never[]) => Promise<unknown> }>(
  activities: A,
): A {
  const wrapped: Partial<A> = {}
  for (const name of Object.keys(activities) as (keyof A)[]) {
    const run = activities[name] as (...args: never[]) => Promise<unknown>
    wrapped[name] = (async (...args: never[]) => {
      try {
        return await run(...args)
      } catch (error) {
        throw toFailure(error)
      }
    }) as A[keyof A]
  }
  return wrapped as A
}
