/**
 * `npm run bench -- production`: the same loads on what production runs on (PostgreSQL, and Temporal's server on it)
 * and on the embedded set (SQLite, Temporal's development server), in one run, with the CPU time of every part.
 */
import pg from 'pg'
import { childrenOf } from '../scripts/servers/children.ts'
import { barePlatform } from './floor.ts'
import { startCluster } from './postgres-cluster.ts'
import { lowLoad, sustained, synchronous, warmUp } from './prediction-load.ts'
import { makePredictionSet } from './prediction-set.ts'
import { cpuMs, type Running, residentMb, run } from './processes.ts'
import type { Row } from './report.ts'
import { benchTemporal } from './temporal.ts'
import { startTemporalOnPostgres } from './temporal-postgres.ts'

interface Backing {
  temporalAddress: string
  /** Scratch folder. */
  folder: string
  databaseUrl?: string
  /** Process ids of what is not Perdure, by name. */
  pids(): Record<string, number[]>
}

export async function benchProduction({ quick }: { quick: boolean }): Promise<Row[]> {
  const mock = await run('bench/mock-platform.ts', { args: ['1'], speaks: true })
  const platform = `http://127.0.0.1:${mock.said.port}`
  try {
    const bare = await barePlatform(platform, 1, quick ? 200 : 2_000)
    const embedded = await onEmbedded((backing) => measure('embedded', backing, platform, bare.p50, quick))
    const production = await onPostgres((backing) =>
      measure('production', backing, platform, bare.p50, quick),
    )
    return [
      { name: 'floor: bare platform, 1 connection p50', unit: 'ms', value: bare.p50 },
      ...embedded,
      ...production,
    ]
  } finally {
    await mock.stop()
  }
}

async function onEmbedded<T>(use: (backing: Backing) => Promise<T>): Promise<T> {
  const temporal = await benchTemporal()
  try {
    return await use({
      temporalAddress: temporal.address,
      folder: temporal.folder,
      pids: () => ({ Temporal: [temporal.pid] }),
    })
  } finally {
    await temporal.end()
  }
}

async function onPostgres<T>(use: (backing: Backing) => Promise<T>): Promise<T> {
  const scratch = await benchTemporal()
  await scratch.stop()
  const postgres = await startCluster({ fsync: true, maxConnections: 300 })
  try {
    const temporal = await startTemporalOnPostgres({
      postgresPort: postgres.port,
      cli: scratch.binary,
      shards: 128,
    })
    try {
      return await use({
        temporalAddress: temporal.address,
        folder: scratch.folder,
        databaseUrl: await postgres.newDatabase(),
        pids: () => ({ Temporal: [temporal.pid() ?? 0], PostgreSQL: childrenOf(postgres.pid() ?? 0) }),
      })
    } finally {
      await temporal.stop()
    }
  } finally {
    await postgres.stop()
    await scratch.end()
  }
}

async function measure(
  name: string,
  backing: Backing,
  platform: string,
  bareP50: number,
  quick: boolean,
): Promise<Row[]> {
  const { temporalAddress, folder, databaseUrl } = backing
  const set = await makePredictionSet({
    name,
    temporalAddress,
    folder,
    platform,
    concurrency: 64,
    ...(databaseUrl !== undefined && { databaseUrl }),
  })
  const parts: Running[] = []
  try {
    parts.push(await set.startWorker(), await set.startWorker(), await set.startApi())
    const [worker1, worker2, api] = parts.map(({ pid }) => pid)
    const pids = () => ({ API: [api!], workers: [worker1!, worker2!], ...backing.pids() })
    const row = (what: string, unit: string, value: number): Row => ({
      name: `${name}: ${what}`,
      unit,
      value,
    })

    console.error(`${name}: low load …`)
    const low = await lowLoad(set, quick ? 20 : 100)
    console.error(`${name}: sustained …`)
    await warmUp(set, quick ? 500 : 10_000)
    const count = quick ? 2_000 : 20_000
    const cpuOfAsync = cpuSince(pids())
    const before = await sizes(databaseUrl)
    const flown = await sustained(set, count)
    const asyncCpu = cpuOfAsync(count)
    const after = await sizes(databaseUrl)
    console.error(`${name}: synchronous …`)
    const one = await synchronous(set, 1, quick ? 200 : 2_000)
    const cpuOfSync = cpuSince(pids())
    const syncCount = quick ? 1_000 : 20_000
    const many = await synchronous(set, 32, syncCount)
    const syncCpu = cpuOfSync(syncCount)
    return [
      row('async sustained, 256 clients', 'completions/s', flown.completionsPerSecond),
      row('async submit', 'requests/s', flown.submitted.perSecond),
      row('async submit p50', 'ms', flown.submitted.p50),
      row('async submit p99', 'ms', flown.submitted.p99),
      row('async lost', '', flown.lost),
      row('async called twice', '', flown.calledTwice),
      ...asyncCpu.map(([part, ms]) => row(`async, CPU of ${part}`, 'ms/prediction', ms)),
      ...after.map(([what, bytes], at) =>
        row(`async, ${what}`, 'KiB/prediction', (bytes - (before[at]?.[1] ?? 0)) / 1024 / count),
      ),
      row('async low load p50', 'ms', low.p50),
      row('async low load p95', 'ms', low.p95),
      row('sync, 1 connection, added to bare platform p50', 'ms', one.p50 - bareP50),
      row('sync, 32 connections', 'requests/s', many.perSecond),
      row('sync, 32 connections p99', 'ms', many.p99),
      row('sync failures', '', one.failures + many.failures),
      ...syncCpu.map(([part, ms]) => row(`sync, CPU of ${part}`, 'ms/prediction', ms)),
      row('memory of the API', 'MB', residentMb(api!)),
      row('memory of a worker', 'MB', Math.max(residentMb(worker1!), residentMb(worker2!))),
    ]
  } finally {
    for (const part of parts.toReversed()) await part.stop()
  }
}

/** Bytes so far, of each thing that grows on PostgreSQL. */
async function sizes(databaseUrl: string | undefined): Promise<[string, number][]> {
  if (databaseUrl === undefined) return []
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  try {
    const { rows } = await client.query<{ records: number; temporal: number; log: number }>(
      `select pg_database_size(current_database())::float8 as records,
        (pg_database_size('temporal') + pg_database_size('temporal_visibility'))::float8 as temporal,
        pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8 as log`,
    )
    const [now] = rows
    if (now === undefined) return []
    return [
      ['records on disk', now.records],
      ["Temporal's databases on disk", now.temporal],
      ['write-ahead log', now.log],
    ]
  } finally {
    await client.end()
  }
}

/** CPU time per prediction from now on, of each named group of processes. One that ends meanwhile is not counted. */
function cpuSince(groups: Record<string, number[]>): (predictions: number) => [string, number][] {
  const before = new Map(Object.values(groups).flatMap((pids) => pids.map((pid) => [pid, cpuMs(pid)])))
  return (predictions) =>
    Object.entries(groups).map(([name, pids]) => {
      const spent = pids.map((pid) => cpuMs(pid) - (before.get(pid) ?? 0)).filter((ms) => ms > 0)
      return [name, spent.reduce((sum, ms) => sum + ms, 0) / predictions]
    })
}
