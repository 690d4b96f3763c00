/** Runs operations on a pool of PostgreSQL connections: grouped writes, pipelined statements, bounded in time. */
import { setTimeout as delay } from 'node:timers/promises'
import type { Pool, PoolClient, QueryResult } from 'pg'
import type { Engine, Entry } from './group.ts'
import { isLasting, storeUnavailable } from './group.ts'
import type { Ask, Operation } from './statement.ts'
import { type Tell, type TransactionRules, transaction } from './transaction.ts'
import { makeWriteQueue, retryRead } from './write-queue.ts'

const transactionRules: TransactionRules = {
  begin: { sql: 'BEGIN', name: 'begin' },
  clock: { sql: 'select floor(extract(epoch from clock_timestamp()) * 1000)::bigint as now', name: 'clock' },
  isPassing,
}
/** Commits without waiting for the disk. */
const softRules: TransactionRules = {
  ...transactionRules,
  soften: { sql: 'SET LOCAL synchronous_commit = off', name: 'soften' },
}

export interface PostgresEngineOptions {
  deadlineMs: number
  /** Before every operation: resolves when the database is as this version needs it, begins to make it so if not. */
  prepared(): Promise<void>
}

export function makePostgresEngine(pool: Pool, { deadlineMs, prepared }: PostgresEngineOptions): Engine {
  let closed = false
  let isPrepared = false

  /** Any failure gives the connection up: nothing of its transaction can remain, whatever state it is in. */
  async function onConnection<Result>(operation: () => Operation<Result>, deadline: number): Promise<Result> {
    if (!isPrepared) await inTime(prepared(), deadline)
    isPrepared = true
    const client = await pool.connect()
    try {
      const result = await drive(client, operation(), deadline)
      client.release()
      return result
    } catch (error) {
      client.release(true)
      throw error
    }
  }

  function commit(group: readonly Entry[]): Promise<Tell[]> {
    const deadline = Math.min(...group.map((entry) => entry.deadline))
    const rules = isLasting(group) ? transactionRules : softRules
    return onConnection(() => transaction(group, rules), deadline)
  }

  const queue = makeWriteQueue({ deadlineMs, largestGroup: 500, parallel: 3, commit, isPassing })

  return {
    write: queue.write,
    read: (operation) => {
      const deadline = performance.now() + deadlineMs
      return retryRead({ deadlineMs, isPassing }, () => {
        if (closed) throw storeUnavailable()
        return onConnection(operation, deadline)
      })
    },
    async close() {
      await queue.close()
      if (closed) return
      closed = true
      await pool.end()
    },
  }
}

async function drive<Result>(
  client: PoolClient,
  operation: Operation<Result>,
  deadline: number,
): Promise<Result> {
  let step = operation.next()
  while (!step.done) {
    // All go out at once (pipeline mode), in one packet; the first failure makes the server refuse the rest.
    client.connection.stream.cork()
    const asked = step.value.map((ask) => query(client, ask, deadline))
    client.connection.stream.uncork()
    const answers = await Promise.allSettled(asked)
    const failed = answers.find((answer) => answer.status === 'rejected')
    step =
      failed === undefined
        ? operation.next(answers.map((answer) => (answer.status === 'fulfilled' ? answer.value.rows : [])))
        : operation.throw(failed.reason)
  }
  return step.value
}

function query(client: PoolClient, { statement, values }: Ask, deadline: number): Promise<QueryResult> {
  const config = {
    name: statement.name,
    text: statement.sql,
    values,
    query_timeout: Math.max(1, deadline - performance.now()),
  }
  return client.query(config)
}

/** Another process may be migrating for minutes; a call waits for its own deadline (`performance.now()`) only. */
export async function inTime(prepared: Promise<void>, deadline: number): Promise<true> {
  const timer = new AbortController()
  const late = delay(Math.max(0, deadline - performance.now()), undefined, { signal: timer.signal }).then(
    () => {
      throw new Error('timeout: the database is being brought up to date')
    },
  )
  try {
    await Promise.race([prepared, late])
    return true
  } finally {
    timer.abort()
    late.catch(() => undefined)
  }
}

/** Waiting does not mend it. The message is one line, free of secrets. */
export class UnusableDatabase extends Error {
  constructor(cause: unknown) {
    const reason = cause instanceof AggregateError ? cause.errors[0] : cause
    // The driver's words name the user and the database, never the password.
    const words = reason instanceof Error ? reason.message : String(reason)
    super(`The record store's database cannot be used: ${words}`, { cause })
  }
}

/**
 * SQLSTATE classes and codes that say nothing about the statement: 08 connection, 40 rollback (deadlock), 53 resources,
 * 55P03 lock timeout, 57 operator intervention and timeouts, 25P02/25P03 a transaction that the server has given up,
 * 25006 a server that is a standby now (postgresql.org/docs/current/errcodes-appendix.html).
 */
const passingStates = /^(08|40|53|57)|^(55P03|25P02|25P03|25006)$/

/** A connection that broke has no SQLSTATE but a system error code, or only a message of the driver. */
const brokenConnection =
  /^(ECONN|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN|ENOENT$)|terminated|timeout|not queryable|connection error/

export function isPassing(error: unknown): boolean {
  if (!(error instanceof Error) || error instanceof UnusableDatabase) return false
  if (error instanceof AggregateError && error.errors.length > 0) return error.errors.every(isPassing)
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  if (/^[0-9A-Z]{5}$/.test(code) && !code.startsWith('E')) return passingStates.test(code)
  return brokenConnection.test(code === '' ? error.message : code)
}
