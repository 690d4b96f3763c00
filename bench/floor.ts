/** The floor every figure is measured against, in the same run: bare Temporal and the bare platform. */
import { performance } from 'node:perf_hooks'
import { Client, Connection } from '@temporalio/client'
import { type LoadResult, load, percentiles } from './load.ts'
import { run, until } from './processes.ts'

const path = '/v2/models/bench/infer'

export interface BareTemporal {
  /** Completions per second with one workflow per prediction, 64 clients. */
  perSecond: number
  /** Start → platform called, milliseconds. */
  lowLoad: { p50: number; p95: number }
}

export async function bareTemporal(address: string, platform: string, count: number): Promise<BareTemporal> {
  const worker = await run('bench/floor/worker.ts', { args: [address, platform], speaks: true })
  const connection = await Connection.connect({ address })
  const { workflow } = new Client({ connection })
  const start = (id: string) =>
    workflow.start('bare', { taskQueue: 'bench-floor', workflowId: id, args: [id] })
  try {
    for (let n = 0; n < 20; n++) await (await start(`warm-${n}`)).result()
    const lowLoad = await eachAlone(platform, start)
    await fetch(`${platform}/reset`)
    const clients = 64
    let started = 0
    const beganMs = performance.now()
    await Promise.all(
      Array.from({ length: clients }, async () => {
        while (started < count) await start(`burst-${started++}`)
      }),
    )
    await until('bare workflows', 120_000, async () => (await stats(platform)).answered >= count)
    return { perSecond: count / ((performance.now() - beganMs) / 1_000), lowLoad }
  } finally {
    await connection.close()
    await worker.stop()
  }
}

async function eachAlone(platform: string, start: (id: string) => Promise<unknown>) {
  const latencies: number[] = []
  for (let n = 0; n < 50; n++) {
    const { answered } = await stats(platform)
    const beganMs = performance.now()
    await start(`alone-${n}`)
    await until('a bare workflow', 10_000, async () => (await stats(platform)).answered > answered, 1)
    latencies.push(performance.now() - beganMs)
  }
  return percentiles(latencies)
}

export interface PlatformStats {
  total: number
  answered: number
  distinct: number
  repeated: number
}

export async function stats(platform: string): Promise<PlatformStats> {
  return (await (await fetch(`${platform}/stats`)).json()) as PlatformStats
}

/** The load client straight at the mock platform. */
export async function barePlatform(
  origin: string,
  connections: number,
  requests: number,
): Promise<LoadResult> {
  const body = '{"inputs":[[5.1,3.5,1.4,0.2]]}'
  return load({ origin, path, body, connections, requests })
}
