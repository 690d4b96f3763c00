/** The one place where a `ServiceError` becomes a Temporal failure: its code is the failure's `type`. */
import { ApplicationFailure } from '@temporalio/activity'
import { codeOf, type ErrorCode, retryable } from '../contracts/errors.ts'

type Table<A> = { [K in keyof A]: (...args: never[]) => Promise<unknown> }

const validationCode = /^[A-Z_]+$/

/** For activities of whoever owns records: whatever they throw carries a code and is tried again. */
export function withFailures<A extends Table<A>>(activities: A): A {
  return wrapped(activities, (error) => toFailure(error, false))
}

/** For validations: a failure that a repetition would not change is a verdict. */
export function withFinalFailures<A extends Table<A>>(activities: A): A {
  return wrapped(activities, (error) =>
    error instanceof ApplicationFailure ? error : toFailure(error, isFinal(codeOf(error))),
  )
}

/** An unforeseen error may pass. */
function isFinal(code: ErrorCode): boolean {
  return code !== 'internal' && !retryable[code]
}

function toFailure(error: unknown, nonRetryable: boolean): Error {
  if (error instanceof Error && error.name === 'CancelledFailure') return error
  const code = codeOf(error)
  return ApplicationFailure.create({
    message: error instanceof Error ? error.message : String(error),
    type: code,
    nonRetryable,
    // A candidate that fails is what validations are for: no warning in the log.
    ...(validationCode.test(code) && { category: 'BENIGN' }),
  })
}

function wrapped<A extends Table<A>>(activities: A, failureOf: (error: unknown) => Error): A {
  const result: Partial<A> = {}
  for (const name of Object.keys(activities) as (keyof A)[]) {
    const run = activities[name] as (...args: never[]) => Promise<unknown>
    result[name] = (async (...args: never[]) => {
      try {
        return await run(...args)
      } catch (error) {
        throw failureOf(error)
      }
    }) as A[keyof A]
  }
  return result as A
}
