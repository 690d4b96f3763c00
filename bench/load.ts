/** A closed-loop HTTP client: so many connections, so many requests, then it stops. Loopback only. */
import { performance } from 'node:perf_hooks'
import { Pool } from 'undici'

export interface LoadOptions {
  origin: string
  path: string
  body: string
  connections: number
  requests: number
  /** Sees every answer; throws on one that is wrong. */
  check?(status: number, text: string): void
}

export interface LoadResult {
  requests: number
  seconds: number
  perSecond: number
  /** Milliseconds. */
  p50: number
  p95: number
  p99: number
  failures: number
}

export async function load(options: LoadOptions): Promise<LoadResult> {
  const { hostname } = new URL(options.origin)
  if (hostname !== '127.0.0.1') throw new Error('a load goes to this machine only')
  const pool = new Pool(options.origin, { connections: options.connections, pipelining: 1 })
  const latencies: number[] = []
  let started = 0
  let failures = 0

  async function client(): Promise<void> {
    while (started < options.requests) {
      started++
      const beganMs = performance.now()
      const { statusCode, body } = await pool.request({
        path: options.path,
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: options.body,
      })
      const text = await body.text()
      latencies.push(performance.now() - beganMs)
      if (statusCode !== 200) failures++
      options.check?.(statusCode, text)
    }
  }

  const beganMs = performance.now()
  await Promise.all(Array.from({ length: options.connections }, client))
  const seconds = (performance.now() - beganMs) / 1_000
  await pool.close()
  return {
    ...percentiles(latencies),
    requests: options.requests,
    seconds,
    perSecond: options.requests / seconds,
    failures,
  }
}

/** Nearest rank, in the unit of the values. */
export function percentiles(values: readonly number[]): { p50: number; p95: number; p99: number } {
  const sorted = values.toSorted((a, b) => a - b)
  const rank = (share: number) => sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN
  return { p50: rank(0.5), p95: rank(0.95), p99: rank(0.99) }
}
