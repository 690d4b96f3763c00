/** `npm run bench`: what predictions cost, beside the floor measured in the same run (design, section 10). */
import { performance } from 'node:perf_hooks'
import { barePlatform, bareTemporal, stats } from './floor.ts'
import { load } from './load.ts'
import { body, lowLoad, steadyPosts, sustained, synchronous, warmUp } from './prediction-load.ts'
import { makePredictionSet, type PredictionSet } from './prediction-set.ts'
import { type Running, residentMb, run, until } from './processes.ts'
import type { Row } from './report.ts'
import { type BenchTemporal, benchTemporal } from './temporal.ts'

export interface PredictionBenchOptions {
  /** Fewer requests: a smoke run, whose figures are not to be quoted. */
  quick: boolean
}

export async function benchPredictions({ quick }: PredictionBenchOptions): Promise<Row[]> {
  const temporal = await benchTemporal()
  const mock = await run('bench/mock-platform.ts', { args: ['1'], speaks: true })
  const slow = await run('bench/mock-platform.ts', { args: ['4000'], speaks: true })
  try {
    const platform = `http://127.0.0.1:${mock.said.port}`
    const rows: Row[] = []
    console.error('floor: bare Temporal and bare platform …')
    const floor = await bareTemporal(temporal.address, platform, quick ? 100 : 600)
    const bareOne = await barePlatform(platform, 1, quick ? 200 : 2_000)
    const bareMany = await barePlatform(platform, 32, quick ? 1_000 : 10_000)
    rows.push(
      { name: 'floor: bare Temporal', unit: 'completions/s', value: floor.perSecond },
      { name: 'floor: bare Temporal, low load p50', unit: 'ms', value: floor.lowLoad.p50 },
      { name: 'floor: bare platform, 1 connection p50', unit: 'ms', value: bareOne.p50 },
      { name: 'floor: bare platform, 32 connections', unit: 'requests/s', value: bareMany.perSecond },
    )
    rows.push(...(await asyncAndSync(temporal, platform, floor, bareOne.p50, quick)))
    rows.push(...(await recovery(temporal, `http://127.0.0.1:${slow.said.port}`)))
    rows.push(...(await withoutTemporal(platform, quick)))
    return rows
  } finally {
    await Promise.all([mock.stop(), slow.stop()])
    await temporal.end()
  }
}

async function asyncAndSync(
  temporal: BenchTemporal,
  platform: string,
  floor: { perSecond: number; lowLoad: { p50: number } },
  bareP50: number,
  quick: boolean,
): Promise<Row[]> {
  const set = await makePredictionSet({
    name: 'throughput',
    temporalAddress: temporal.address,
    folder: temporal.folder,
    platform,
    concurrency: 64,
  })
  const parts: Running[] = []
  const rows: Row[] = []
  try {
    parts.push(await set.startWorker(), await set.startWorker())
    const api = await set.startApi()
    parts.push(api)
    console.error('low load …')
    const low = await lowLoad(set, quick ? 20 : 100)
    rows.push(
      { name: 'async low load p50', unit: 'ms', value: low.p50, must: '≤ 40', ok: low.p50 <= 40 },
      {
        name: 'async low load p50 / bare Temporal',
        unit: '×',
        value: low.p50 / floor.lowLoad.p50,
        must: '≤ 2',
        ok: low.p50 <= 2 * floor.lowLoad.p50,
      },
      {
        name: 'async submit, low load p50',
        unit: 'ms',
        value: low.submitP50,
        must: '≤ 3',
        ok: low.submitP50 <= 3,
      },
      { name: 'async low load p95', unit: 'ms', value: low.p95, must: '≤ 60', ok: low.p95 <= 60 },
    )
    console.error('memory …')
    await warmUp(set, quick ? 1_000 : 10_000)
    const apiMb = residentMb(api.pid)
    const workerMb = Math.max(...parts.slice(0, 2).map(({ pid }) => residentMb(pid)))
    rows.push(
      { name: 'memory of the API', unit: 'MB', value: apiMb, must: '≤ 200', ok: apiMb <= 200 },
      { name: 'memory of a worker', unit: 'MB', value: workerMb, must: '≤ 350', ok: workerMb <= 350 },
    )
    console.error('async sustained …')
    rows.push(...(await sustainedRows(set, floor.perSecond, quick ? 2_000 : 20_000)))
    console.error('sync direct …')
    const one = await synchronous(set, 1, quick ? 200 : 2_000)
    const many = await synchronous(set, 32, quick ? 1_000 : 20_000)
    rows.push(
      {
        name: 'sync, 1 connection, added to bare platform p50',
        unit: 'ms',
        value: one.p50 - bareP50,
        must: '≤ 1.5',
        ok: one.p50 - bareP50 <= 1.5,
      },
      {
        name: 'sync, 32 connections',
        unit: 'requests/s',
        value: many.perSecond,
        must: '≥ 2500',
        ok: many.perSecond >= 2_500,
      },
      { name: 'sync, 32 connections p99', unit: 'ms', value: many.p99 },
      {
        name: 'sync failures',
        unit: '',
        value: one.failures + many.failures,
        must: '0',
        ok: one.failures + many.failures === 0,
      },
    )
    return rows
  } finally {
    for (const part of parts.toReversed()) await part.stop()
  }
}

async function sustainedRows(set: PredictionSet, floorPerSecond: number, count: number): Promise<Row[]> {
  const { submitted, completionsPerSecond, lost, calledTwice } = await sustained(set, count)
  return [
    { name: 'async sustained', unit: 'completions/s', value: completionsPerSecond },
    {
      name: 'async sustained / bare Temporal',
      unit: '×',
      value: completionsPerSecond / floorPerSecond,
      must: '≥ 20',
      ok: completionsPerSecond >= 20 * floorPerSecond,
    },
    { name: 'async submit', unit: 'requests/s', value: submitted.perSecond },
    { name: 'async submit p99', unit: 'ms', value: submitted.p99, must: '≤ 150', ok: submitted.p99 <= 150 },
    { name: 'async lost', unit: '', value: lost, must: '0', ok: lost === 0 },
    { name: 'async called twice', unit: '', value: calledTwice, must: '0', ok: calledTwice === 0 },
  ]
}

/** `kill -9` of a worker with calls of 4 s in flight, a standby alive: until all of them run again. */
async function recovery(temporal: BenchTemporal, platform: string): Promise<Row[]> {
  console.error('kill -9 of a worker …')
  const set = await makePredictionSet({
    name: 'recovery',
    temporalAddress: temporal.address,
    folder: temporal.folder,
    platform,
    concurrency: 10,
  })
  const parts: Running[] = []
  try {
    const victim = await set.startWorker()
    parts.push(victim, await set.startApi())
    const answer = await load({
      origin: set.origin,
      path: '/async/v1/predict',
      body,
      connections: 10,
      requests: 10,
    })
    await until('all calls', 30_000, async () => (await stats(platform)).total >= 10)
    parts.push(await set.startWorker())
    // The standby must poll before the kill counts: its own start is not recovery.
    await new Promise((resolve) => setTimeout(resolve, 2_500))
    const { total } = await stats(platform)
    const killedMs = performance.now()
    await victim.kill()
    await until('the interrupted calls', 60_000, async () => (await stats(platform)).total >= total + 10, 5)
    const seconds = (performance.now() - killedMs) / 1_000
    await set.idle()
    return [
      {
        name: 'kill -9 of a worker: all calls run again after',
        unit: 's',
        value: seconds,
        must: '≤ 5',
        ok: seconds <= 5,
      },
      { name: 'kill -9: failures', unit: '', value: answer.failures, must: '0', ok: answer.failures === 0 },
    ]
  } finally {
    for (const part of parts.toReversed()) await part.stop()
  }
}

/** Posts go on while Temporal is killed and restarted: nobody is to see it, and all that was accepted ends. */
async function withoutTemporal(platform: string, quick: boolean): Promise<Row[]> {
  console.error('submit while Temporal restarts …')
  const temporal = await benchTemporal()
  const set = await makePredictionSet({
    name: 'restart',
    temporalAddress: temporal.address,
    folder: temporal.folder,
    platform,
    concurrency: 64,
  })
  const parts: Running[] = []
  try {
    parts.push(await set.startWorker(), await set.startApi())
    await warmUp(set, quick ? 200 : 2_000)
    const { p99, statuses } = await steadyPosts(set, 100, temporal.restart(quick ? 1_000 : 5_000))
    await set.idle()
    const accepted = statuses.get(200) ?? 0
    const refused = [...statuses.values()].reduce((sum, count) => sum + count, -accepted)
    return [
      {
        name: 'async submit p99 while Temporal restarts',
        unit: 'ms',
        value: p99,
        must: '≤ 200',
        ok: p99 <= 200,
      },
      { name: 'submits refused meanwhile', unit: '', value: refused, must: '0', ok: refused === 0 },
      { name: 'submits accepted meanwhile, all ended', unit: '', value: accepted },
    ]
  } finally {
    for (const part of parts.toReversed()) await part.stop()
    await temporal.end()
  }
}
