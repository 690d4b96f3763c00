/** `npm run bench -- modelserver`: the model server beside MLServer and the KServe SDK, same client, same requests. */
import { pythonMissing, startKserve, startMlserver } from '../test/support/model-servers.ts'
import { cannon } from './cannon.ts'
import type { LoadResult } from './load.ts'
import { residentMb, run } from './processes.ts'
import type { Row } from './report.ts'

export interface ModelserverBenchOptions {
  /** Fewer requests: a smoke run, whose figures are not to be quoted. */
  quick: boolean
}

interface Contender {
  name: string
  origin: string
  pid: number
  model: string
  /** Requests per load; a slow server gets fewer, so that a run stays short. */
  requests: number
  stop(): Promise<void>
}

const connectionCounts = [1, 32, 128]
const body = JSON.stringify({
  id: 'bench',
  inputs: [{ name: 'input0', shape: [1, 2], datatype: 'FP64', data: [1, 2] }],
})

/**
 * All servers are up and take turns, three times round, so that a busy moment of the machine does not fall on one of
 * them alone; the median round counts. Rows without Python environments are left out, and said so.
 */
export async function benchModelserver({ quick }: ModelserverBenchOptions): Promise<Row[]> {
  const share = quick ? 0.1 : 1
  const contenders: Contender[] = []
  try {
    contenders.push(await startOurs('perdure', 'plain'), await startOurs('perdure batched', 'batched'))
    for (const name of ['mlserver', 'kserve'] as const) {
      const missing = pythonMissing(name)
      if (missing === true) contenders.push(await startPeer(name))
      else console.error(`${name}: left out, ${missing}`)
    }
    for (const contender of contenders) await warm(contender, share)
    const rounds = new Map<string, LoadResult[][]>(contenders.map(({ name }) => [name, []]))
    for (let round = 1; round <= (quick ? 1 : 3); round++) {
      console.error(`round ${round} …`)
      for (const contender of contenders) rounds.get(contender.name)?.push(await measure(contender, share))
    }
    const medians = new Map([...rounds].map(([name, results]) => [name, medianRound(results)]))
    const ours = medians.get('perdure')
    const mlserver = medians.get('mlserver')
    return [
      ...contenders.flatMap(({ name, pid }) => [
        ...figures(name, medians.get(name) ?? []),
        { name: `${name}, memory afterwards`, unit: 'MB', value: residentMb(pid) },
      ]),
      ...(ours && mlserver ? comparison(ours, mlserver) : []),
    ]
  } finally {
    await Promise.all(contenders.map(({ stop }) => stop()))
  }
}

async function startOurs(name: string, model: string): Promise<Contender> {
  const server = await run('bench/trivial-model.ts', { speaks: true })
  const origin = `http://127.0.0.1:${server.said.port}`
  return { name, origin, pid: server.pid, model, requests: 10_000, stop: server.stop }
}

async function startPeer(name: 'mlserver' | 'kserve'): Promise<Contender> {
  const server = await (name === 'mlserver'
    ? startMlserver({ model: 'trivial' })
    : startKserve({ model: 'trivial' }))
  const model = name === 'mlserver' ? 'iris' : 'trivial'
  return { name, origin: server.baseUrl, pid: server.pid, model, requests: 1_000, stop: server.stop }
}

/** The first requests meet cold caches and code that is not compiled yet. */
async function warm(contender: Contender, share: number): Promise<void> {
  await loaded(contender, 32, contender.requests * share)
}

async function measure(contender: Contender, share: number): Promise<LoadResult[]> {
  const results: LoadResult[] = []
  for (const connections of connectionCounts) {
    const requests = contender.requests * share
    results.push(await loaded(contender, connections, connections === 1 ? requests / 2 : requests))
  }
  return results
}

async function loaded(
  { name, origin, model }: Contender,
  connections: number,
  requests: number,
): Promise<LoadResult> {
  const result = await cannon({
    origin,
    path: `/v2/models/${model}/infer`,
    body,
    connections,
    requests,
    accept,
  })
  if (result.failures > 0) throw new Error(`${name}: ${result.failures} wrong answers`)
  return result
}

/** Of each number of connections, the result with the median rate. */
function medianRound(rounds: LoadResult[][]): LoadResult[] {
  return connectionCounts.flatMap((_, i) => {
    const sorted = rounds.flatMap((round) => round[i] ?? []).sort((a, b) => a.perSecond - b.perSecond)
    return sorted[Math.floor(sorted.length / 2)] ?? []
  })
}

function figures(name: string, results: LoadResult[]): Row[] {
  return results.flatMap(({ perSecond, p50, p99 }, i) => {
    const at = `${name}, ${label(connectionCounts[i] ?? 0)}`
    return [
      { name: at, unit: 'requests/s', value: perSecond },
      { name: `${at} p50`, unit: 'ms', value: p50 },
      { name: `${at} p99`, unit: 'ms', value: p99 },
    ]
  })
}

function label(connections: number): string {
  return connections === 1 ? '1 connection' : `${connections} connections`
}

function accept(answer: string): boolean {
  return /"data":\[6(\.0)?\]/.test(answer)
}

/** The figures of design section 10, at each number of connections. */
function comparison(ours: LoadResult[], theirs: LoadResult[]): Row[] {
  return connectionCounts.flatMap((connections, i) => {
    const mine = ours[i]
    const other = theirs[i]
    if (!mine || !other) return []
    const rate = mine.perSecond / other.perSecond
    const latency = mine.p50 / other.p50
    const at = `perdure / mlserver, ${label(connections)}`
    return [
      { name: at, unit: '× requests/s', value: rate, must: '≥ 5', ok: rate >= 5 },
      { name: `${at} p50`, unit: '×', value: latency, must: '≤ 1/3', ok: latency <= 1 / 3 },
    ]
  })
}
