/** What the driver throws, told apart: what may pass on another connection, what no server takes, what start must refuse. */
import { CommitInDoubt } from './in-doubt.ts'

/** The server, the way to it or the session is at fault, not what was asked: to be asked again, on a new connection. */
export class PassingFailure extends Error {
  constructor(cause: unknown) {
    super(wordsOf(cause), { cause })
  }
}

/** Waiting does not mend it. The message is one line, free of secrets. */
export class UnusableDatabase extends Error {
  constructor(cause: unknown) {
    super(`The record store's database cannot be used: ${wordsOf(cause)}`, { cause })
  }
}

export function isPassing(error: unknown): boolean {
  return error instanceof PassingFailure || error instanceof CommitInDoubt
}

/**
 * SQLSTATE classes that say something of the statement itself: 22 a value that its type cannot hold, 23 a constraint,
 * 42 names, rights and syntax, 54 a value that is too large for an index or a row
 * (postgresql.org/docs/current/errcodes-appendix.html).
 */
const ofTheStatement = /^(22|23|42|54)[0-9A-Z]{3}$/

/**
 * A failure of a connection or of a statement in use. All others pass: passwords and certificates are rotated, disks and
 * servers are mended, and a result in hand is worth the wait.
 */
export function failureOf(error: unknown): unknown {
  return ofTheStatement.test(codeIn(error)) ? error : new PassingFailure(error)
}

/**
 * What is worth waiting for before the first connection stands. 08 connection, 40 rollback (deadlock), 53 resources,
 * 55P03 lock timeout, 57 operator intervention and timeouts, 25P02/25P03 a transaction that the server has given up,
 * 25006 a server that is a standby now.
 */
const awayStates = /^(08|40|53|57)|^(55P03|25P02|25P03|25006)$/

/** A connection that broke has no SQLSTATE but a system error code, or only a message of the driver. */
const brokenConnection =
  /^(ECONN|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN|ENOENT$)|terminated|timeout|not queryable|connection error/

/** A failure at start: wrong credentials, an absent database or one of a newer version are told, not waited for. */
export function failureAtStart(error: unknown): Error {
  return isAway(error) ? new PassingFailure(error) : new UnusableDatabase(error)
}

function isAway(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  if (error instanceof AggregateError && error.errors.length > 0) return error.errors.every(isAway)
  const code = codeIn(error)
  if (/^[0-9A-Z]{5}$/.test(code) && !code.startsWith('E')) return awayStates.test(code)
  return brokenConnection.test(code === '' ? error.message : code)
}

function codeIn(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''
}

/** The driver's words name the user and the database, never the password. */
function wordsOf(error: unknown): string {
  const reason = error instanceof AggregateError ? error.errors[0] : error
  return reason instanceof Error ? reason.message : String(reason)
}
