/** Brings a PostgreSQL database to this version's schema, one process at a time; refuses one that has left it behind. */
import pg, { type ClientBase, type Pool, type PoolClient } from 'pg'
import {
  schema as currentSchema,
  type FoundSchema,
  isCurrent,
  pendingStatements,
  reached,
  type Schema,
} from './migrations/migrations.ts'
import { postgresDialect } from './statement.ts'

const surveyWithinMs = 3_000

/** Once; whoever finds the server away tries again. */
export function migrate(pool: Pool, schema: Schema): Promise<void> {
  return withClient(pool, (client) => migrateOnce(client, schema))
}

/** Anything that goes wrong gives the connection up, and with it the transaction. */
async function withClient(pool: Pool, use: (client: PoolClient) => Promise<void>): Promise<void> {
  const client = await pool.connect()
  try {
    await use(client)
    client.release()
  } catch (error) {
    client.release(true)
    throw error
  }
}

async function migrateOnce(client: PoolClient, schema: Schema): Promise<void> {
  // A database that is up to date is only read: no lock, no right to change it needed.
  if (isCurrent(await find(client), schema)) return
  await client.query('BEGIN')
  // An index over many rows takes minutes, and those who come second wait for it as long.
  await client.query('SET LOCAL statement_timeout = 0')
  await client.query('SET LOCAL idle_in_transaction_session_timeout = 0')
  await client.query('SET LOCAL lock_timeout = 0')
  await client.query(`select pg_advisory_xact_lock(hashtextextended('perdure schema', 0))`)
  // A table that others use is waited for shortly only: everybody behind us in its queue would wait too.
  await client.query('SET LOCAL lock_timeout = 1000')
  // Whoever waited may still believe that there is no table: this one looks again.
  await client.query('create table if not exists schema_version (version bigint not null, oldest bigint)')
  const found = await find(client)
  if (!isCurrent(found, schema)) await bringUp(client, found.version, schema)
  await client.query('COMMIT')
}

/** What the database is, without changing it. Throws when it cannot be reached, or not be used by this version. */
export async function surveyPostgres(connectionString: string): Promise<FoundSchema> {
  const client = new pg.Client({ connectionString, connectionTimeoutMillis: surveyWithinMs })
  try {
    await client.connect()
    const { version, oldest } = await find(client)
    const found = { version: Number(version), oldest: oldest == null ? null : Number(oldest) }
    isCurrent(found, currentSchema)
    return found
  } finally {
    await client.end().catch(() => undefined)
  }
}

async function find(client: ClientBase): Promise<FoundSchema> {
  const { rows: tables } = await client.query<{ name: string | null }>(
    `select to_regclass('schema_version')::text as name`,
  )
  if (tables[0]?.name === null) return { version: 0 }
  const { rows } = await client.query<FoundSchema>('select * from schema_version')
  return rows[0] ?? { version: 0 }
}

async function bringUp(client: PoolClient, version: number, schema: Schema): Promise<void> {
  await client.query('alter table schema_version add column if not exists oldest bigint')
  for (const statement of pendingStatements(version, schema, postgresDialect)) await client.query(statement)
  await client.query('delete from schema_version')
  const now = reached(schema)
  await client.query('insert into schema_version (version, oldest) values ($1, $2)', [
    now.version,
    now.oldest,
  ])
}
