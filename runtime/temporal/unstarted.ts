/**
 * Starts the flights that a process has admitted and nobody has confirmed as started: in the process while it lives, in
 * its guard after. Owns order and pauses; which flights these are is the store's to say.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { codeOf } from '../../contracts/errors.ts'
import type { FlightStart } from '../../contracts/flights.ts'
import type { StartAnswer } from './client.ts'

export interface UnstartedDeps {
  /** Flights whose prefix comes after. Ends members past their own deadlines. */
  list(after: string): Promise<{ flights: FlightStart[]; isLast: boolean }>
  /** One try. Throws while Temporal cannot be asked. */
  start(flight: FlightStart): Promise<StartAnswer>
  onStarted(prefixes: string[]): Promise<void> | void
  /** Temporal will not take it as it is. */
  onRefused(flight: FlightStart): void
  /** Somebody else has this flight in hand now. */
  isInHand?(prefix: string): boolean
  signal: AbortSignal
}

/** Starts at once while Temporal answers; one by one while it does not. */
const together = 20
const firstPauseMs = 50
const longestPauseMs = 1_000

/**
 * Resolves when nothing is left but what was refused, with their number, or when `signal` fires. While Temporal
 * or the store is away it tries on, for ever; any other error passes.
 */
export async function startUnstarted(deps: UnstartedDeps): Promise<number> {
  const { signal } = deps
  const refused = new Set<string>()
  let after = ''
  let sawDue = false
  let pauseMs = firstPauseMs
  while (!signal.aborted) {
    try {
      const { flights, isLast } = await deps.list(after)
      const due = flights.filter(({ prefix }) => !deps.isInHand?.(prefix) && !refused.has(prefix))
      if (due.length === 0) {
        if (isLast && !sawDue) return refused.size
        if (isLast) sawDue = false
        after = isLast ? '' : flights.at(-1)!.prefix
        continue
      }
      sawDue = true
      // Those behind a flight that cannot be started have their turn.
      const some = due.slice(0, pauseMs === firstPauseMs ? together : 1)
      after = some.at(-1)!.prefix
      const answers = await Promise.allSettled(some.map(deps.start))
      await deps.onStarted(prefixesOf(some, answers, 'started'))
      for (const prefix of prefixesOf(some, answers, 'refused')) {
        refused.add(prefix)
        deps.onRefused(some.find((flight) => flight.prefix === prefix)!)
      }
      if (answers.some(({ status }) => status === 'rejected')) await pause()
      else pauseMs = firstPauseMs
    } catch (error) {
      if (codeOf(error) !== 'store_unavailable') throw error
      await pause()
    }
  }
  return refused.size

  async function pause(): Promise<void> {
    await delay(pauseMs, undefined, { signal, ref: false }).catch(() => undefined)
    pauseMs = Math.min(longestPauseMs, pauseMs * 2)
  }
}

function prefixesOf(
  flights: readonly FlightStart[],
  answers: readonly PromiseSettledResult<StartAnswer>[],
  wanted: StartAnswer,
): string[] {
  return flights.flatMap(({ prefix }, at) => {
    const answer = answers[at]
    return answer?.status === 'fulfilled' && answer.value === wanted ? [prefix] : []
  })
}
