/** Opens the store that the settings name. Owns the choice only. */
import type { StoreOptions } from './composed-store.ts'
import { type FoundSchema, schema } from './migrations/migrations.ts'
import { openSqliteStore, surveySqlite } from './sqlite.ts'
import type { Store } from './store.ts'

/** Structural twin of the settings that config.ts reads. */
export type StoreChoice =
  | { kind: 'sqlite'; dataDir: string }
  | { kind: 'postgres'; url: { reveal(): string } }

export interface OpenOptions extends StoreOptions {
  /** A database server that is away is no reason to fail: see `untilThere`. */
  patient?: boolean
}

/** @throws Error with one line that says which folder or database cannot be used, and why. */
export async function openStore(
  choice: StoreChoice,
  { patient = false, ...options }: OpenOptions = {},
): Promise<Store> {
  if (choice.kind === 'sqlite') return openSqliteStore({ dataDir: choice.dataDir, ...options })
  // Whoever uses the embedded store does not load a database driver.
  const { openPostgresStore } = await import('./postgres.ts')
  return openPostgresStore({ connectionString: choice.url.reveal(), patient, ...options })
}

/** What lies there, in words, without changing it. Throws when it cannot be used, or not by this version. */
export async function surveyStore(choice: StoreChoice): Promise<string> {
  if (choice.kind === 'sqlite') return wordsFor(`SQLite in ${choice.dataDir}`, surveySqlite(choice.dataDir))
  const { surveyPostgres } = await import('./postgres-schema.ts')
  return wordsFor('PostgreSQL', await surveyPostgres(choice.url.reveal()))
}

function wordsFor(name: string, { version }: FoundSchema): string {
  const ours = schema.migrations.length
  if (version === 0) return `${name}, empty: the first process makes its tables`
  if (version < ours) return `${name}, schema ${version}: the first process brings it to ${ours}`
  return `${name}, schema ${version}`
}
