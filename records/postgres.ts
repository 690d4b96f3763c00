/** Opens the shared store: one PostgreSQL database for any number of processes on any number of machines. */
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { composeStore, type StoreOptions } from './composed-store.ts'
import { migrations, pendingStatements } from './migrations/migrations.ts'
import { isPassing, makePostgresEngine } from './postgres-engine.ts'
import { type BeatOptions, defaultBeats, makeBeats } from './postgres-life.ts'
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
    await migrate(pool, performance.now() + writeDeadlineMs)
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

async function migrate(pool: pg.Pool, deadline: number): Promise<void> {
  for (;;) {
    try {
      return await migrateOnce(pool)
    } catch (error) {
      if (!isPassing(error) || performance.now() > deadline) throw error
    }
    await delay(100)
  }
}

async function migrateOnce(pool: pg.Pool): Promise<void> {
  const client = await pool.connect()
  let failed = true
  try {
    await client.query('BEGIN')
    // One at a time, and before the look at the version.
    await client.query(`select pg_advisory_xact_lock(hashtextextended('perdure schema', 0))`)
    await client.query('create table if not exists schema_version (version bigint not null)')
    const { rows } = await client.query<{ version: number }>('select version from schema_version')
    const version = rows[0]?.version ?? 0
    const statements = pendingStatements(version, postgresDialect)
    for (const statement of statements) await client.query(statement)
    if (statements.length > 0) {
      await client.query('delete from schema_version')
      await client.query('insert into schema_version values ($1)', [migrations.length])
    }
    await client.query('COMMIT')
    failed = false
  } finally {
    client.release(failed)
  }
}

/** The driver's words name the user and the database, never the password. */
function plainly(error: unknown): Error {
  const reason = error instanceof AggregateError ? error.errors[0] : error
  const words = reason instanceof Error ? reason.message : String(reason)
  return new Error(`The record store's database cannot be used: ${words}`, { cause: error })
}
