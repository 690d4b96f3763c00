/** Opens the shared store: one PostgreSQL database for any number of processes on any number of machines. */
import pg from 'pg'
import { composeStore, type StoreOptions } from './composed-store.ts'
import { schema as currentSchema, type Schema } from './migrations/migrations.ts'
import { makePostgresEngine } from './postgres-engine.ts'
import { type BeatOptions, defaultBeats, makeBeats } from './postgres-life.ts'
import { migrate } from './postgres-schema.ts'
import { postgresDialect } from './statement.ts'
import type { Store } from './store.ts'

export interface PostgresOptions extends StoreOptions {
  /** `postgres://user:password@host:port/database`. */
  connectionString: string
  /** How long a call is retried while the database is away. */
  writeDeadlineMs?: number
  /** Connections of this process, the beating one not counted. */
  poolSize?: number
  beats?: BeatOptions
  /** That of another version of Perdure. */
  schema?: Schema
}

/** A process that stops in the middle of a transaction must not keep its locks from others for long. */
const longestIdleInTransactionMs = 2_000
const int8 = 20

/** Throws an `Error` of one line if the database cannot be reached or belongs to a newer version. */
export async function openPostgresStore({
  connectionString,
  writeDeadlineMs = 5_000,
  poolSize = 8,
  beats = defaultBeats,
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
    types: { getTypeParser },
  })
  pool.on('error', ignoreBroken)
  pool.on('connect', (client) => client.on('error', ignoreBroken))
  try {
    await migrate(pool, schema, performance.now() + writeDeadlineMs)
  } catch (error) {
    await pool.end()
    throw plainly(error)
  }
  const engine = makePostgresEngine(pool, { deadlineMs: writeDeadlineMs })
  return composeStore(postgresDialect, engine, makeBeats(connectionString, beats), options)
}

function ignoreBroken(): void {
  // A connection broke: its statements fail by themselves, and the next call opens another.
}

/** Milliseconds and counts come as 64-bit integers; all of ours are exact as numbers. */
function getTypeParser(oid: number, format?: 'text' | 'binary') {
  return oid === int8 && format !== 'binary' ? Number : pg.types.getTypeParser(oid, format)
}

/** The driver's words name the user and the database, never the password. */
function plainly(error: unknown): Error {
  const reason = error instanceof AggregateError ? error.errors[0] : error
  const words = reason instanceof Error ? reason.message : String(reason)
  return new Error(`The record store's database cannot be used: ${words}`, { cause: error })
}
