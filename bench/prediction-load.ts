/** The loads of the prediction benches: one at a time, sustained, and synchronous. Judges nothing. */
import { performance } from 'node:perf_hooks'
import { stats } from './floor.ts'
import { type LoadResult, load, percentiles } from './load.ts'
import type { PredictionSet } from './prediction-set.ts'
import { until } from './processes.ts'

export const body = JSON.stringify({ model_name: 'bench', inputs: { inputs: [[5.1, 3.5, 1.4, 0.2]] } })

export interface LowLoad {
  p50: number
  p95: number
  /** Until the POST was answered. */
  submitP50: number
}

/** One at a time: POST sent → the record says succeeded. */
export async function lowLoad(set: PredictionSet, count: number): Promise<LowLoad> {
  const latencies: number[] = []
  const submits: number[] = []
  for (let n = -10; n < count; n++) {
    const beganMs = performance.now()
    const answer = await fetch(`${set.origin}/async/v1/predict`, { method: 'POST', body })
    const { id } = (await answer.json()) as { id: string }
    const answeredMs = performance.now()
    await until('a prediction', 30_000, async () => (await statusOf(set, id)) === 'succeeded', 1)
    // The first ones meet cold caches.
    if (n < 0) continue
    latencies.push(performance.now() - beganMs)
    submits.push(answeredMs - beganMs)
  }
  return { ...percentiles(latencies), submitP50: percentiles(submits).p50 }
}

/** Posts at a steady rate while `meanwhile` goes on and for a second after it, however long answers take. */
export async function steadyPosts(
  set: PredictionSet,
  perSecond: number,
  meanwhile: Promise<unknown>,
): Promise<{ p99: number; statuses: Map<number, number> }> {
  const latencies: number[] = []
  const statuses = new Map<number, number>()
  const posts: Promise<void>[] = []
  let isOver = false
  void meanwhile.finally(() => setTimeout(() => (isOver = true), 1_000))
  for (const beganMs = performance.now(); !isOver; ) {
    posts.push(post())
    const nextMs = beganMs + (posts.length * 1_000) / perSecond
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, nextMs - performance.now())))
  }
  await Promise.all(posts)
  return { p99: percentiles(latencies).p99, statuses }

  async function post(): Promise<void> {
    const beganMs = performance.now()
    const answer = await fetch(`${set.origin}/async/v1/predict`, { method: 'POST', body })
    await answer.body?.cancel()
    latencies.push(performance.now() - beganMs)
    statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1)
  }
}

async function statusOf(set: PredictionSet, id: string): Promise<string> {
  const answer = await fetch(`${set.origin}/task/${id}`)
  return ((await answer.json()) as { status: string }).status
}

export interface Sustained {
  /** Of the posts. */
  submitted: LoadResult
  /** From the first request until nothing is unfinished. */
  completionsPerSecond: number
  lost: number
  calledTwice: number
}

export async function sustained(set: PredictionSet, count: number): Promise<Sustained> {
  await fetch(`${set.platform}/reset`)
  const ids = new Set<string>()
  const beganMs = performance.now()
  const submitted = await load({
    origin: set.origin,
    path: '/async/v1/predict',
    body,
    connections: 256,
    requests: count,
    check: (_status, text) => ids.add((JSON.parse(text) as { id: string }).id),
  })
  await set.idle()
  const completionsPerSecond = count / ((performance.now() - beganMs) / 1_000)
  const { distinct, repeated } = await stats(set.platform)
  // Ids that the platform never saw, requests that failed, answers that repeat an id.
  const lost = count - distinct + submitted.failures + (count - ids.size)
  return { submitted, completionsPerSecond, lost, calledTwice: repeated }
}

export function synchronous(set: PredictionSet, connections: number, requests: number): Promise<LoadResult> {
  return load({ origin: set.origin, path: '/v1/predict', body, connections, requests })
}

/** Fills caches and memory. */
export async function warmUp(set: PredictionSet, requests: number): Promise<void> {
  await load({ origin: set.origin, path: '/async/v1/predict', body, connections: 64, requests })
  await set.idle()
}
