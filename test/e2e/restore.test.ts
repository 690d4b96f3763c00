/**
 * The backup and the restore of docs/operations.md, on real servers: the dumps are taken under load, everything is lost,
 * and after the restore every prediction that the dump holds ends; also when Temporal's databases are lost for good.
 */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, inject, onTestFinished, vi } from 'vitest'
import { startTemporalOnPostgres, type TemporalOnPostgres } from '../../bench/temporal-postgres.ts'
import { postgresFolder } from '../../scripts/postgres.mjs'
import { type Deployment, echo, type Part } from '../support/deployment.ts'
import { temporaryFolder } from '../support/folders.ts'
import { type Cluster, startCluster } from '../support/postgres.ts'
import { after } from '../support/scripted-server.ts'
import { describeProduction, type SetupOptions } from '../support/setups.ts'

const long = { timeout: 120_000, interval: 250 }
const soon = { timeout: 60_000, interval: 50 }

function postgresTool(name: string, cluster: Cluster, args: string[]): void {
  execFileSync(join(postgresFolder()!, name), [
    '-h',
    '127.0.0.1',
    '-p',
    String(cluster.port),
    '-U',
    'perdure',
    ...args,
  ])
}

async function temporalOn(cluster: Cluster): Promise<TemporalOnPostgres> {
  const temporal = await startTemporalOnPostgres({ postgresPort: cluster.port, cli: inject('temporalCli') })
  onTestFinished(() => temporal.stop())
  return temporal
}

// Backup and restore run in every change's test of compose; these look closer.
describeProduction('restore', ({ makeDeployment, more: test }) => {
  const options: SetupOptions = {
    ownTemporal: true,
    platform: after(400, echo),
    env: { WORKER_CONCURRENCY: '4', V2_REQUEST_TIMEOUT: '300', TASK_TIMEOUT: '300' },
  }

  async function loaded(): Promise<{ deployment: Deployment; parts: Part[]; ids: string[] }> {
    const deployment = await makeDeployment(options)
    const parts = [await deployment.startWorker(), await deployment.startApi()]
    const ids: string[] = []
    for (let n = 0; n < 60; n++) ids.push((await deployment.submit(n)).id)
    await vi.waitFor(() => expect(deployment.platform.calls.length).toBeGreaterThan(12), soon)
    return { deployment, parts, ids }
  }

  test('dumps taken under load, restored into empty databases: all they hold ends', async () => {
    const { deployment, parts } = await loaded()
    const { postgres, databaseUrl } = deployment.production!
    const folder = temporaryFolder('dump')
    const databases = ['temporal_visibility', 'temporal', new URL(databaseUrl).pathname.slice(1)]
    for (const name of databases) {
      postgresTool('pg_dump', postgres, ['--format=custom', `--file=${join(folder, name)}`, name])
      // What comes between the dumps is in the records and not in Temporal.
      await Promise.all([100, 101, 102].map((n) => deployment.submit(n)))
    }
    await Promise.all(parts.map((part) => part.kill()))
    await deployment.killTemporal()
    await postgres.stop()

    const cluster = await startCluster()
    onTestFinished(() => cluster.stop())
    for (const name of databases) {
      postgresTool('createdb', cluster, [name])
      postgresTool('pg_restore', cluster, [`--dbname=${name}`, join(folder, name)])
    }
    const url = new URL(databaseUrl)
    url.port = String(cluster.port)
    deployment.moveTo({ postgres: cluster, temporal: await temporalOn(cluster), databaseUrl: url.href })
    await deployment.startWorker()
    await deployment.startApi()
    const recovering = deployment.launch('cli/main.ts', 'recover')
    expect(await recovering.exited, recovering.output()).toBe(0)
    const held = await deployment.query<{ id: string }>('select id from predictions')
    expect(held.length).toBeGreaterThanOrEqual(60)
    await vi.waitFor(async () => {
      const open = await deployment.query(`select id from predictions where status in ('pending', 'running')`)
      expect(open).toEqual([])
    }, long)
    // Not by the list: between its dump and that of the histories some flights ended, and it has not heard of that.
    const { workflow } = await deployment.client()
    for (const prefix of new Set(held.map(({ id }) => id.slice(0, 18)))) {
      await vi.waitFor(async () => {
        const status = await workflow
          .getHandle(`flight-${prefix}`)
          .describe()
          .then(
            (description) => description.status.name,
            (error: Error) => error.name,
          )
        expect(['COMPLETED', 'WorkflowNotFoundError']).toContain(status)
      }, long)
    }
    expect(await deployment.query(`select id, status from predictions where status <> 'succeeded'`)).toEqual(
      [],
    )
  }, 240_000)

  test('Temporal’s databases lost for good, records kept: all of them end', async () => {
    const { deployment, parts, ids } = await loaded()
    const direct = fetch(`${deployment.baseUrl}/v1/predict`, {
      method: 'POST',
      body: JSON.stringify({ model_name: 'm', inputs: { inputs: ['direct'] } }),
    }).catch(() => undefined)
    await vi.waitFor(async () => {
      expect(
        await deployment.query(`select id from predictions where flight is null and status = 'running'`),
      ).toHaveLength(1)
    }, soon)
    await Promise.all(parts.map((part) => part.kill()))
    await direct
    await deployment.killTemporal()
    const elsewhere = await startCluster()
    onTestFinished(() => elsewhere.stop())
    deployment.moveTo({ ...deployment.production!, temporal: await temporalOn(elsewhere) })
    await deployment.startWorker()
    await deployment.startApi()
    const recovering = deployment.launch('cli/main.ts', 'recover', '--json')
    expect(await recovering.exited, recovering.output()).toBe(0)
    const again = deployment.launch('cli/main.ts', 'recover')
    expect(await again.exited, again.output()).toBe(0)
    await deployment.noteStatuses()
    await deployment.expectSettled(ids, long)
    const [interrupted, ...others] = await deployment.query<{ error_code: string; flight: string | null }>(
      `select error_code, flight from predictions where status <> 'succeeded'`,
    )
    expect(interrupted).toEqual({ error_code: 'interrupted', flight: null })
    expect(others).toEqual([])
  }, 240_000)
})
