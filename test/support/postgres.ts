/** A real PostgreSQL server, one per test file, started when a suite of the file needs it. */
import { afterAll, beforeAll } from 'vitest'
import { type Cluster, startCluster } from '../../bench/postgres-cluster.ts'
import { postgresFolder } from '../../scripts/postgres.mjs'
import { requirement } from './require.ts'

export { type Cluster, startCluster }

export const postgres = requirement('postgres', () => postgresFolder() !== undefined || 'no initdb found')

let shared: Cluster | undefined

export function sharedCluster(): Cluster {
  if (shared === undefined) throw new Error('no cluster runs: use describeWithCluster')
  return shared
}

/** A suite that has the file's cluster; skipped with its reason, or failing, where there is no PostgreSQL. */
export function describeWithCluster(name: string, define: () => void): void {
  postgres.describe(name, () => {
    beforeAll(async () => {
      shared ??= await startCluster()
    })
    define()
  })
}

afterAll(async () => {
  await shared?.stop()
})
