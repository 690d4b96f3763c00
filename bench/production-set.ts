/**
 * Perdure as in production, on this machine: PostgreSQL, Temporal's server on it, APIs and workers as processes of
 * their own, everything kept running as an orchestrator would.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Connection } from '@temporalio/client'
import { taskQueueOf } from '../contracts/names.ts'
import { lastingPorts } from '../dev/free-ports.ts'
import { findTemporal } from '../dev/temporal-binary.ts'
import { type Cluster, startCluster } from './postgres-cluster.ts'
import { run, until } from './processes.ts'
import { type Supervised, supervise } from './supervised.ts'
import { startTemporalOnPostgres, type TemporalOnPostgres } from './temporal-postgres.ts'

export interface ProductionSet {
  /** Of the APIs. */
  origins: string[]
  postgres: Supervised
  temporal: Supervised
  apis: Supervised[]
  workers: Supervised[]
  /** Of the records' database. */
  databaseUrl: string
  temporalAddress: string
  /** Of predictions, in Temporal. */
  taskQueue: string
  /** What every process wrote. */
  folder: string
  /** Everything runs and does what it is for. Throws after the time. */
  ready(withinMs: number): Promise<void>
  /** Orderly; `keep` leaves the folder with the logs. */
  stop(keep?: boolean): Promise<void>
}

export interface ProductionSetOptions {
  /** `127.0.0.1:<port>` of a V2 model server. */
  platform: string
  /** As shipped: 128. */
  shards: number
  /** Until what has ended is started again. */
  pauseMs: number
  env: Record<string, string>
}

const taskTypeName = 'bench'
const taskQueue = taskQueueOf(taskTypeName)

export async function startProductionSet(options: ProductionSetOptions): Promise<ProductionSet> {
  const folder = mkdtempSync(join(tmpdir(), 'perdure-production-'))
  const { path: cli } = await findTemporal({ env: process.env, say: (line) => console.error(line) })
  const cluster = await startCluster({ fsync: true, maxConnections: 300 })
  const databaseUrl = await cluster.newDatabase()
  const server = await startTemporalOnPostgres({ postgresPort: cluster.port, cli, shards: options.shards })
  const connection = Connection.lazy({ address: server.address })
  const ports = await lastingPorts(2)
  const env = {
    ENVIRONMENT: 'production',
    LOG_LEVEL: 'info',
    DATABASE_URL: databaseUrl,
    TEMPORAL_ADDRESS: server.address,
    PERDURE_DATA_DIR: join(folder, 'data'),
    TASK_TYPE_NAME: taskTypeName,
    ML_PLATFORM: 'v2',
    V2_ADDRESS: options.platform,
    SHUTDOWN_DELAY: '0',
    ...options.env,
  }
  const { pauseMs } = options

  const postgres = keptRunning('postgres', cluster, pauseMs)
  const temporal = keptRunning('temporal', server, pauseMs)
  const workers = [1, 2].map((n) => {
    let pid: number | undefined
    return supervise({
      name: `worker-${n}`,
      pauseMs,
      async start() {
        const worker = await run('worker/main.ts', {
          env,
          cwd: folder,
          logFile: join(folder, `worker-${n}.log`),
        })
        pid = worker.pid
        return worker
      },
      ready: async () => pollers(connection, pid),
    })
  })
  const origins = ports.map((port) => `http://127.0.0.1:${port}`)
  const apis = ports.map((port, at) =>
    supervise({
      name: `api-${at + 1}`,
      pauseMs,
      start: () =>
        run('api/main.ts', {
          env: { ...env, HTTP_SERVER_ADDRESS: `127.0.0.1:${port}` },
          cwd: folder,
          logFile: join(folder, `api-${at + 1}.log`),
        }),
      ready: async () => (await fetch(`${origins[at]}/ready`, { signal: AbortSignal.timeout(5_000) })).ok,
    }),
  )
  const all = [postgres, temporal, ...workers, ...apis]

  return {
    origins,
    postgres,
    temporal,
    apis,
    workers,
    databaseUrl,
    temporalAddress: server.address,
    taskQueue,
    folder,
    async ready(withinMs) {
      for (const part of all) await until(part.name, withinMs, part.ready, 50)
    },
    async stop(keep = false) {
      await Promise.all(apis.map((api) => api.stop()))
      await Promise.all(workers.map((worker) => worker.stop()))
      await connection.close()
      await temporal.stop()
      await postgres.stop()
      if (!keep) rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** The first start is the one that made its data; it runs already. */
function keptRunning(name: string, server: Cluster | TemporalOnPostgres, pauseMs: number): Supervised {
  let isFirst = true
  return supervise({
    name,
    pauseMs,
    async start() {
      if (!isFirst) await server.start()
      isFirst = false
      return { ended: server.ended(), kill: server.kill, stop: server.stop }
    },
    ready: async () => server.pid() !== undefined,
  })
}

/** Temporal remembers a poller for minutes, by the number of its process. */
async function pollers(connection: Connection, pid: number | undefined): Promise<boolean> {
  const { pollers } = await connection.withDeadline(Date.now() + 5_000, () =>
    connection.workflowService.describeTaskQueue({
      namespace: 'default',
      taskQueue: { name: taskQueue },
      taskQueueType: 1,
    }),
  )
  return pollers?.some(({ identity }) => identity?.startsWith(`${pid}@`)) ?? false
}
