/** Opens the embedded store: one SQLite file in the data folder, shared by any number of processes of one machine. */
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as delay } from 'node:timers/promises'
import { composeStore, type StoreOptions } from './composed-store.ts'
import {
  schema as currentSchema,
  type FoundSchema,
  isCurrent,
  pendingStatements,
  reached,
  type Schema,
} from './migrations/migrations.ts'
import { isPassing, makeSqliteEngine } from './sqlite-engine.ts'
import { makeLockedFiles } from './sqlite-life.ts'
import { sqliteDialect } from './statement.ts'
import type { Store } from './store.ts'

export interface SqliteOptions extends StoreOptions {
  dataDir: string
  /** How long a write is retried while the file is locked or the disk fails. */
  writeDeadlineMs?: number
  /** That of another version of Perdure. */
  schema?: Schema
}

/** SQLite's own waiting blocks the event loop, so it is short; longer waits are asynchronous. */
const busyTimeoutMs = 5

/** Throws an `Error` of one line if the folder cannot be used or the file belongs to a newer version. */
export async function openSqliteStore({
  dataDir,
  writeDeadlineMs = 5_000,
  schema = currentSchema,
  ...options
}: SqliteOptions): Promise<Store> {
  const file = join(dataDir, 'records.db')
  const deadline = performance.now() + writeDeadlineMs
  for (;;) {
    let db: DatabaseSync | undefined
    try {
      // Inputs and outputs are for nobody else of this machine.
      mkdirSync(dataDir, { recursive: true, mode: 0o700 })
      const life = makeLockedFiles(dataDir)
      db = new DatabaseSync(file, { timeout: busyTimeoutMs })
      prepareFile(db, schema)
      return composeStore(sqliteDialect, makeSqliteEngine(db, { deadlineMs: writeDeadlineMs }), life, options)
    } catch (error) {
      db?.close()
      if (!isPassing(error) || performance.now() > deadline) throw plainly(error, dataDir)
    }
    await delay(busyTimeoutMs)
  }
}

/** What the file is, without changing or making it. Throws when it cannot be used, or not by this version. */
export function surveySqlite(dataDir: string): FoundSchema {
  const file = join(dataDir, 'records.db')
  if (!existsSync(file)) return { version: 0 }
  const db = new DatabaseSync(file, { readOnly: true, timeout: 1_000 })
  try {
    const found = find(db)
    isCurrent(found, currentSchema)
    return found
  } finally {
    db.close()
  }
}

function prepareFile(db: DatabaseSync, schema: Schema): void {
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -16000')
  // Reading first: opening an up-to-date file needs no lock.
  if (isCurrent(find(db), schema)) return
  db.exec('BEGIN IMMEDIATE')
  const found = find(db)
  if (!isCurrent(found, schema)) {
    for (const statement of pendingStatements(found.version, schema, sqliteDialect)) db.exec(statement)
    const { version, oldest } = reached(schema)
    db.exec(`create table if not exists schema_oldest (oldest bigint not null); delete from schema_oldest;
      insert into schema_oldest values (${oldest}); PRAGMA user_version = ${version}`)
  }
  db.exec('COMMIT')
}

function find(db: DatabaseSync): FoundSchema {
  const version = Number(db.prepare('PRAGMA user_version').get()?.user_version)
  const recorded = db.prepare(`select 1 from sqlite_schema where name = 'schema_oldest'`).get() !== undefined
  if (!recorded) return { version }
  return { version, oldest: Number(db.prepare('select oldest from schema_oldest').get()?.oldest) }
}

function plainly(error: unknown, dataDir: string): Error {
  const reason = error instanceof Error ? error.message : String(error)
  return new Error(`The record store in ${dataDir} cannot be opened: ${reason}`, { cause: error })
}
