/** Judges measurements against gates: latency, errors, throughput, regression, memory. Pure; every gate is listed. */

import type { GateResult, LoadResult } from '../contracts/validation-record.ts'
import type { Gates } from '../contracts/validation-requests.ts'
import type { PhaseFailure } from './requests.ts'

const percentiles = ['p50', 'p90', 'p95', 'p99'] as const

/**
 * Gates on load, each against its worst concurrency. `baseline`: the load results of the blessing that
 * `maxRegression` names; a concurrency that it lacks cannot be judged and fails.
 */
export function loadGates(
  gates: Gates,
  results: readonly LoadResult[],
  baseline: readonly LoadResult[] = [],
): GateResult[] {
  if (results.length === 0) return []
  const verdicts: GateResult[] = []
  for (const p of percentiles) {
    const limit = gates[`max${p.toUpperCase()}Ms` as 'maxP50Ms']
    if (limit !== undefined)
      verdicts.push(atMost(`max${p.toUpperCase()}Ms`, limit, worst(results.map((one) => one[p]))))
  }
  const rates = results.map((one) => (one.n === 0 ? 1 : sum(Object.values(one.errors)) / one.n))
  verdicts.push(atMost('maxErrorRate', gates.maxErrorRate, worst(rates)))
  if (gates.minThroughput !== undefined) {
    // Throughput grows with concurrency: the best one is what the server can do.
    const value = Math.max(...results.map(({ rps }) => rps))
    const pass = value >= gates.minThroughput
    verdicts.push({ name: 'minThroughput', limit: gates.minThroughput, value, pass })
  }
  for (const p of percentiles) {
    const limit = gates.maxRegression?.[p]
    if (limit === undefined) continue
    const factors = results.map((one) => {
      const before = baseline.find(({ concurrency }) => concurrency === one.concurrency)?.[p]
      return one[p] === null || !before ? null : one[p] / before
    })
    verdicts.push(atMost(`maxRegression.${p}`, limit, worst(factors)))
  }
  return verdicts
}

/** The gate on peak memory. A platform that cannot tell (null) fails it: a gate that was not checked was not passed. */
export function memoryGate(gates: Gates, peakMemoryBytes: number | null | undefined): GateResult[] {
  const limit = gates.maxPeakMemoryBytes
  return limit === undefined ? [] : [atMost('maxPeakMemoryBytes', limit, peakMemoryBytes ?? null)]
}

/** The failure that closed gates make: names gate, limit and measured value. */
export function gateFailure(verdicts: readonly GateResult[]): PhaseFailure | undefined {
  const closed = verdicts.filter(({ pass }) => !pass)
  if (closed.length === 0) return undefined
  const message = closed
    .map(
      ({ name, limit, value }) =>
        `${name}: measured ${value === null ? 'nothing' : round(value)}, limit ${limit}`,
    )
    .join('; ')
  const memory = closed.every(({ name }) => name === 'maxPeakMemoryBytes')
  return { class: memory ? 'MEMORY_GATE' : 'LATENCY_GATE', message }
}

function atMost(name: string, limit: number, value: number | null): GateResult {
  return { name, limit, value, pass: value !== null && value <= limit }
}

/** Null as soon as one is unknown. */
function worst(values: readonly (number | null)[]): number | null {
  return values.reduce<number | null>(
    (largest, value) => (largest === null || value === null ? null : Math.max(largest, value)),
    Number.NEGATIVE_INFINITY,
  )
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000
}
