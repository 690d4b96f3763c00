/** Where records of a test lie and how they are opened; free of vitest, for child processes too. */
import type { StoreOptions } from '../../records/composed-store.ts'
import type { Schema } from '../../records/migrations/migrations.ts'
import { openPostgresStore } from '../../records/postgres.ts'
import { openSqliteStore } from '../../records/sqlite.ts'
import type { Store } from '../../records/store.ts'

/** `poolSize` is PostgreSQL's. */
export type OpenOptions = StoreOptions & { writeDeadlineMs?: number; schema?: Schema; poolSize?: number }

/** As JSON, so that another process can open the same place. */
export type Place = { kind: 'sqlite'; dataDir: string } | { kind: 'postgres'; connectionString: string }

type Method = Exclude<keyof Store, 'deliveries' | 'tracking' | 'validations'>
export type StoreCall = { [M in Method]: [M, ...Parameters<Store[M]>] }[Method]

export function openAt(place: Place, options: OpenOptions = {}): Promise<Store> {
  return place.kind === 'sqlite'
    ? openSqliteStore({ dataDir: place.dataDir, ...options })
    : openPostgresStore({ connectionString: place.connectionString, poolSize: 4, ...options })
}
