/** Runs operations on a pool of PostgreSQL connections: grouped writes, pipelined statements, bounded in time. */
import { setTimeout as delay } from 'node:timers/promises'
import type { Pool, PoolClient, QueryResult } from 'pg'
import type { Engine, Entry } from './group.ts'
import { isLasting, storeUnavailable } from './group.ts'
import { CommitInDoubt } from './in-doubt.ts'
import { failureOf, isPassing, PassingFailure } from './postgres-failures.ts'
import { type Ask, type Operation, postgresClock } from './statement.ts'
import { type Tell, type TransactionRules, transaction } from './transaction.ts'
import { makeWriteQueue, retryRead } from './write-queue.ts'

const transactionRules: TransactionRules = {
  begin: { sql: 'BEGIN', name: 'begin' },
  clock: postgresClock,
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
    const client = await pool.connect().catch((error: unknown) => {
      throw failureOf(error)
    })
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
        : operation.throw(doubtful(step.value, failureOf(failed.reason)))
  }
  return step.value
}

/** Only the server's own refusal of a COMMIT says that it has not taken effect. */
function doubtful(asked: readonly Ask[], failure: unknown): unknown {
  const wasSent = asked.some(({ statement }) => statement.name === 'commit')
  return wasSent && isPassing(failure) ? new CommitInDoubt(failure) : failure
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
      throw new PassingFailure(new Error('the database is being brought up to date'))
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
