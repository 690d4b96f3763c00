/**
 * A load with autocannon, for servers so quick that another client's own work would be most of the figure.
 * Bounded counts, loopback only.
 */
import autocannon, { type Result } from 'autocannon'
import { type LoadResult, percentiles } from './load.ts'

export interface CannonOptions {
  origin: string
  path: string
  body: string
  connections: number
  requests: number
  /** Whether an answer is right. */
  accept(body: string): boolean
}

/** Latencies come from each response: autocannon's own summary rounds them to whole milliseconds. */
export async function cannon(options: CannonOptions): Promise<LoadResult> {
  const { origin, path, body, connections, requests, accept } = options
  if (new URL(origin).hostname !== '127.0.0.1') throw new Error('a load goes to this machine only')
  const latencies: number[] = []
  const beganMs = performance.now()
  // It resolves on its next whole second only.
  let endedMs = beganMs
  const { non2xx, errors, mismatches } = await new Promise<Result>((resolve, reject) => {
    const run = autocannon(
      {
        url: `${origin}${path}`,
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body,
        connections,
        amount: requests,
        verifyBody: (answer) => accept(String(answer)),
      },
      (error, result) => (error ? reject(error) : resolve(result)),
    )
    run.on('response', (_client, _status, _bytes, responseMs) => {
      latencies.push(responseMs)
      endedMs = performance.now()
    })
  })
  const seconds = (endedMs - beganMs) / 1_000
  return {
    ...percentiles(latencies),
    requests,
    seconds,
    perSecond: requests / seconds,
    failures: non2xx + errors + mismatches,
  }
}
