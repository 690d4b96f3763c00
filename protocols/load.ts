/** The load probe: a closed loop at each concurrency, percentiles by nearest rank (specification, 7.4). */

import type { LoadResult } from '../contracts/validation-record.ts'
import type { Load, ProbeRequest } from '../contracts/validation-requests.ts'
import { deadlineIn } from './deadline.ts'
import { makePool } from './probe-http.ts'
import { makeJudge, type PhaseFailure, type QueryPhase, sendRequest } from './requests.ts'

/** Runs every concurrency in order. A dead job or the end of the query budget ends it; bad answers are counted. */
export async function runLoad(
  phase: QueryPhase,
  load: Load,
  requests: readonly ProbeRequest[],
): Promise<{ results: LoadResult[]; failure?: PhaseFailure }> {
  const results: LoadResult[] = []
  const judge = makeJudge(phase)
  for (const [index, concurrency] of load.concurrencies.entries()) {
    const { result, failure } = await runOne(phase, load, requests, concurrency, judge)
    if (result !== undefined) results.push(result)
    if (failure !== undefined) return { results, failure }
    phase.onProgress?.(index + 1, load.concurrencies.length)
  }
  return { results }
}

async function runOne(
  phase: QueryPhase,
  load: Load,
  requests: readonly ProbeRequest[],
  concurrency: number,
  judge: ReturnType<typeof makeJudge>,
): Promise<{ result?: LoadResult; failure?: PhaseFailure }> {
  const dispatcher = makePool(concurrency)
  const spent: PhaseFailure = {
    class: 'DEADLINE_EXCEEDED',
    message: `query budget spent at concurrency ${concurrency}`,
  }
  const times: number[] = []
  const errors: Record<string, number> = {}
  let begun = 0
  let failure: PhaseFailure | undefined

  async function send(number: number) {
    const request = requests[number % requests.length]
    if (request === undefined) throw new RangeError('load needs requests')
    return await sendRequest(phase, request, `load-${concurrency}-${number}`, dispatcher)
  }
  async function loop(more: () => boolean): Promise<void> {
    while (failure === undefined && more()) {
      const sent = await send(begun++)
      if (sent.ok) times.push(sent.ms)
      else {
        const name = sent.status === undefined ? sent.error : `http_${sent.status}`
        errors[name] = (errors[name] ?? 0) + 1
        const why = await judge(sent)
        if (why.class !== 'QUERY_FAILED') failure ??= why
      }
    }
  }

  try {
    for (let number = 0; number < load.warmupRequests; number++) {
      if (phase.deadline.passed) return { failure: spent }
      await send(number)
    }
    const since = performance.now()
    const until = load.durationSeconds === undefined ? undefined : deadlineIn(load.durationSeconds * 1000)
    const more = () => {
      if (phase.deadline.passed) failure ??= spent
      return until === undefined ? begun < (load.requests ?? 0) : !until.passed
    }
    await Promise.all(Array.from({ length: concurrency }, () => loop(more)))
    const result = summarize(concurrency, times, errors, performance.now() - since)
    return { result, ...(failure && { failure }) }
  } finally {
    await dispatcher.destroy()
  }
}

/** `ms` of the good answers, in any order; `wallMs` of the whole measurement. */
export function summarize(
  concurrency: number,
  times: readonly number[],
  errors: Readonly<Record<string, number>>,
  wallMs: number,
): LoadResult {
  const sorted = times.toSorted((a, b) => a - b)
  const failed = Object.values(errors).reduce((sum, count) => sum + count, 0)
  return {
    concurrency,
    n: times.length + failed,
    errors: { ...errors },
    p50: percentile(sorted, 50),
    p90: percentile(sorted, 90),
    p95: percentile(sorted, 95),
    p99: percentile(sorted, 99),
    max: sorted.at(-1) ?? null,
    rps: wallMs > 0 ? times.length / (wallMs / 1000) : 0,
  }
}

/** Nearest rank: the smallest value that at least `percent` % of the values do not exceed. Null for none. */
export function percentile(sorted: readonly number[], percent: number): number | null {
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)] ?? null
}
