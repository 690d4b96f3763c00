/** `npm run bench -- modelserver`: the model server beside MLServer and the KServe SDK, same client, same requests. */
import { pythonMissing, startKserve, startMlserver } from '../test/support/model-servers.ts'
import { type LoadResult, load } from './load.ts'
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
  /** Requests per load at many connections; a slow server gets fewer, so that a run stays short. */
  requests: number
  stop(): Promise<void>
}

const connectionCounts = [1, 32, 128]
const body = JSON.stringify({
  id: 'bench',
  inputs: [{ name: 'input0', shape: [1, 2], datatype: 'FP64', data: [1, 2] }],
})

/** One server at a time, so that none takes another's cores. Rows without Python environments are left out, and said so. */
export async function benchModelserver({ quick }: ModelserverBenchOptions): Promise<Row[]> {
  const share = quick ? 0.1 : 1
  const rows: Row[] = []
  const plain = await measure(() => startOurs('perdure', 'plain'), share, rows)
  await measure(() => startOurs('perdure batched', 'batched'), share, rows)
  const mlserver = await peer('mlserver', () => startPeer('mlserver'), share, rows)
  await peer('kserve', () => startPeer('kserve'), share, rows)
  if (mlserver) rows.push(...comparison(plain, mlserver))
  return rows
}

async function startOurs(name: string, model: string): Promise<Contender> {
  const server = await run('bench/trivial-model.ts', { speaks: true })
  const origin = `http://127.0.0.1:${server.said.port}`
  return { name, origin, pid: server.pid, model, requests: 20_000, stop: server.stop }
}

async function startPeer(name: 'mlserver' | 'kserve'): Promise<Contender> {
  const server = await (name === 'mlserver'
    ? startMlserver({ model: 'trivial' })
    : startKserve({ model: 'trivial' }))
  const model = name === 'mlserver' ? 'iris' : 'trivial'
  return { name, origin: server.baseUrl, pid: server.pid, model, requests: 2_000, stop: server.stop }
}

async function peer(
  name: 'mlserver' | 'kserve',
  start: () => Promise<Contender>,
  share: number,
  rows: Row[],
): Promise<LoadResult[] | undefined> {
  const missing = pythonMissing(name)
  if (missing === true) return measure(start, share, rows)
  console.error(`${name}: left out, ${missing}`)
  return undefined
}

async function measure(start: () => Promise<Contender>, share: number, rows: Row[]): Promise<LoadResult[]> {
  const contender = await start()
  const { name, origin, pid, model, stop } = contender
  const target = { origin, path: `/v2/models/${model}/infer`, body, check: checkAnswer }
  const results: LoadResult[] = []
  try {
    console.error(`${name} …`)
    const requests = contender.requests * share
    // The first requests meet cold caches and code that is not compiled yet.
    await load({ ...target, connections: 32, requests: requests / 4 })
    for (const connections of connectionCounts) {
      const result = await load({
        ...target,
        connections,
        requests: connections === 1 ? requests / 4 : requests,
      })
      results.push(result)
      const at = `${name}, ${connections} connection${connections === 1 ? '' : 's'}`
      rows.push(
        { name: at, unit: 'requests/s', value: result.perSecond },
        { name: `${at} p50`, unit: 'ms', value: result.p50 },
        { name: `${at} p99`, unit: 'ms', value: result.p99 },
      )
    }
    rows.push({ name: `${name}, memory afterwards`, unit: 'MB', value: residentMb(pid) })
    return results
  } finally {
    await stop()
  }
}

function checkAnswer(status: number, text: string): void {
  if (status !== 200 || !/"data":\[6(\.0)?\]/.test(text)) throw new Error(`wrong answer: ${status} ${text}`)
}

/** The figures of design section 10, at each number of connections. */
function comparison(ours: LoadResult[], theirs: LoadResult[]): Row[] {
  return connectionCounts.flatMap((connections, i) => {
    const mine = ours[i]
    const other = theirs[i]
    if (!mine || !other) return []
    const rate = mine.perSecond / other.perSecond
    const latency = mine.p50 / other.p50
    const at = `perdure / mlserver, ${connections} connection${connections === 1 ? '' : 's'}`
    return [
      { name: at, unit: '× requests/s', value: rate, must: '≥ 5', ok: rate >= 5 },
      { name: `${at} p50`, unit: '×', value: latency, must: '≤ 1/3', ok: latency <= 1 / 3 },
    ]
  })
}
