/**
 * What production runs on, for tests: a PostgreSQL server and Temporal's own server on it, with the files of
 * deploy/compose. Both are the test's alone and gone after it.
 */
import { inject, onTestFinished } from 'vitest'
import { type Cluster, startCluster } from '../../bench/postgres-cluster.ts'
import { startTemporalOnPostgres, type TemporalOnPostgres } from '../../bench/temporal-postgres.ts'
import { postgresFolder } from '../../scripts/postgres.mjs'
import { temporalServerPrograms } from '../../scripts/temporal-server.mjs'
import { requirement } from './require.ts'

export const production = requirement('temporal-server', () => {
  if (temporalServerPrograms() === undefined) return 'not built (node scripts/temporal-server.mjs)'
  return postgresFolder() !== undefined || 'no initdb found'
})

export interface Production {
  postgres: Cluster
  /** Its server and its two databases on `postgres`; few shards. */
  temporal: TemporalOnPostgres
  /** An empty database for records. */
  databaseUrl: string
}

/**
 * Some 4 s on an idle machine. Both can be killed and started again on the same ports.
 * @example
 * production.test('…', async () => { const { temporal, postgres, databaseUrl } = await startProduction() })
 */
export async function startProduction(): Promise<Production> {
  const postgres = await startCluster()
  onTestFinished(() => postgres.stop())
  const temporal = await startTemporalOnPostgres({ postgresPort: postgres.port, cli: inject('temporalCli') })
  onTestFinished(() => temporal.stop())
  return { postgres, temporal, databaseUrl: await postgres.newDatabase() }
}
