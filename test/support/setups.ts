/**
 * Where the same promises are kept: on one machine with SQLite and Temporal's development server, and as in production,
 * where both records and Temporal lie on PostgreSQL.
 */
import { afterAll, beforeAll, describe, inject, onTestFinished, test, vi } from 'vitest'
import { startTemporalOnPostgres } from '../../bench/temporal-postgres.ts'
import { type Deployment, type DeploymentOptions, makeDeployment } from './deployment.ts'
import { startCluster } from './postgres.ts'
import { type Production, production, startProduction } from './production.ts'
import { full } from './require.ts'

// Each of these starts processes and servers: a busy machine gets its time.
vi.setConfig({ testTimeout: 150_000 })

type Define = (name: string, run: () => Promise<void>, timeoutMs?: number) => void

export interface Setup {
  name: 'SQLite' | 'PostgreSQL'
  makeDeployment(options?: SetupOptions): Promise<Deployment>
  test: Define
  /** On PostgreSQL only with PERDURE_FULL: what it promises there is shown by others too. */
  more: Define
}

export interface SetupOptions extends Omit<DeploymentOptions, 'production'> {
  /** A store of its own, so that it can be taken away while Temporal stays. */
  ownStore?: boolean
}

export function describeSetups(name: string, define: (setup: Setup) => void): void {
  describe(`${name}, SQLite`, () => define({ name: 'SQLite', makeDeployment, test, more: test }))
  describeProduction(`${name}, PostgreSQL`, define)
}

/** One server of either kind for the suite; those who kill one get their own. */
export function describeProduction(name: string, define: (setup: Setup) => void): void {
  production.describe(name, () => {
    let shared: Omit<Production, 'databaseUrl'> | undefined
    beforeAll(async () => {
      const postgres = await startCluster({ maxConnections: 300 })
      const temporal = await startTemporalOnPostgres({
        postgresPort: postgres.port,
        cli: inject('temporalCli'),
      })
      shared = { postgres, temporal }
    }, 120_000)
    afterAll(async () => {
      await shared?.temporal.stop()
      await shared?.postgres.stop()
    })
    define({
      name: 'PostgreSQL',
      test,
      more: full.test,
      async makeDeployment({ ownStore = false, ...options } = {}) {
        const { postgres, temporal } = options.ownTemporal ? await startProduction() : shared!
        const records = ownStore ? await startCluster() : postgres
        if (ownStore) onTestFinished(() => records.stop())
        const databaseUrl = await records.newDatabase()
        return makeDeployment({ ...options, production: { postgres: records, temporal, databaseUrl } })
      },
    })
  })
}
