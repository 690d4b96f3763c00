/** Opens the store that the settings name. Owns the choice only. */
import { openSqliteStore } from './sqlite.ts'
import type { Store } from './store.ts'

/** Structural twin of the settings that config.ts reads. */
export interface StoreChoice {
  kind: 'sqlite' | 'postgres'
  dataDir: string
}

/** @throws Error with one line that says which folder or database cannot be used, and why. */
export async function openStore(choice: StoreChoice): Promise<Store> {
  if (choice.kind === 'sqlite') return openSqliteStore({ dataDir: choice.dataDir })
  throw new Error('DATABASE_URL: the PostgreSQL store is not part of this build')
}
