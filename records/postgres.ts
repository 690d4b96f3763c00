/** Opens the shared store: one PostgreSQL database for any number of processes on any number of machines. */
import pg from 'pg'
import { ServiceError } from '../contracts/errors.ts'
import { composeStore, type StoreOptions } from './composed-store.ts'
import { schema as currentSchema, type Schema } from './migrations/migrations.ts'
import { inTime, makePostgresEngine } from './postgres-engine.ts'
import { failureAtStart, isPassing, UnusableDatabase } from './postgres-failures.ts'
import { type BeatOptions, defaultBeats, makeBeats } from './postgres-life.ts'
import { migrate } from './postgres-schema.ts'
import { postgresDialect } from './statement.ts'
import type { Store } from './store.ts'
import { retryRead } from './write-queue.ts'

export interface PostgresOptions extends StoreOptions {
  /** `postgres://user:password@host:port/database`. */
  connectionString: string
  /** How long a call is retried while the database is away. */
  writeDeadlineMs?: number
  /** Connections of this process, the beating one not counted. */
  poolSize?: number
  beats?: BeatOptions
  /** Opens a store whose server is away: its calls are `store_unavailable` until the server is there. */
  patient?: boolean
  /** That of another version of Perdure. */
  schema?: Schema
}

/** A process that stops in the middle of a transaction must not keep its locks from others for long. */
const longestIdleInTransactionMs = 2_000
const int8 = 20

/**
 * A connection keeps a statement's plan until the table's statistics are taken anew, a minute or more. One made for a
 * table that was nearly empty reads it from end to end, and the more slowly the more is admitted in that minute. Every
 * statement that matters has an index; without one the table is read all the same. Such a plan has a cost that would
 * have it compiled.
 */
const plannerOptions = '-c enable_seqscan=off -c jit=off'

/**
 * A client that is frozen with unread rows keeps its session, and whatever locks that has, in a write that no timeout of
 * statements ends: the connection itself has to.
 */
const connectionOptions = '-c tcp_user_timeout=10s'

/**
 * Throws an `Error` of one line if the database cannot be used: wrong credentials, none of that name, a newer version,
 * or (unless `patient`) no server. A patient store throws the same from its calls if that shows only later.
 */
export async function openPostgresStore({
  connectionString,
  writeDeadlineMs = 5_000,
  poolSize = 8,
  beats = defaultBeats,
  patient = false,
  schema = currentSchema,
  ...options
}: PostgresOptions): Promise<Store> {
  const pool = new pg.Pool({
    connectionString,
    max: poolSize,
    // Lets the pool hand out connections on which statements need not wait for one another.
    ...{ pipeline: true },
    connectionTimeoutMillis: Math.min(writeDeadlineMs, 2_000),
    idle_in_transaction_session_timeout: longestIdleInTransactionMs,
    lock_timeout: Math.ceil(writeDeadlineMs / 2),
    statement_timeout: writeDeadlineMs,
    application_name: 'perdure',
    options: `${plannerOptions} ${connectionOptions}`,
    types: { getTypeParser },
  })
  pool.on('error', ignoreBroken)
  pool.on('connect', (client) => client.on('error', ignoreBroken))
  let done: Promise<void> | undefined
  const prepared = () =>
    (done ??= migrate(pool, schema).catch((error: unknown) => {
      done = undefined
      throw failureAtStart(error)
    }))
  const engine = makePostgresEngine(pool, { deadlineMs: writeDeadlineMs, prepared })
  try {
    // Only a server that is away has a deadline; a migration has none.
    if (patient) await inTime(prepared(), performance.now() + writeDeadlineMs)
    else await retryRead({ deadlineMs: writeDeadlineMs, isPassing }, prepared)
  } catch (error) {
    if (!patient || !isPassing(error)) {
      await engine.close()
      throw error instanceof ServiceError ? new UnusableDatabase(error.cause) : error
    }
  }
  return composeStore(postgresDialect, engine, makeBeats(connectionString, beats), options)
}

function ignoreBroken(): void {
  // A connection broke: its statements fail by themselves, and the next call opens another.
}

/** Milliseconds and counts come as 64-bit integers; all of ours are exact as numbers. */
function getTypeParser(oid: number, format?: 'text' | 'binary') {
  return oid === int8 && format !== 'binary' ? Number : pg.types.getTypeParser(oid, format)
}
