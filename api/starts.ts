/**
 * Starts the flights of this process: each as soon as it is admitted, and by one loop what Temporal did not take then.
 * Owns who has a flight in hand, and the marks that say which have started; the store has the list of the others.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { FlightStart } from '../contracts/flights.ts'
import type { Store } from '../records/store.ts'
import type { StartAnswer, TemporalApi } from '../runtime/temporal/client.ts'
import { startUnstarted } from '../runtime/temporal/unstarted.ts'

export interface StartsDeps {
  store: Pick<Store, 'unstarted' | 'markStarted'>
  temporal: Pick<TemporalApi, 'startFlight'>
  processId: string
  /** A flight with so many predictions has started. */
  onFlight?: ((predictions: number) => void) | undefined
  /** Temporal will not take this flight, with or without search attributes: a fault of ours, told once. */
  onRefused?: ((flight: FlightStart) => void) | undefined
}

export interface Starts {
  /** An admission of this flight begins: the loop keeps off it until it is started, left or dropped. */
  take(prefix: string): void
  /** There is no such flight. */
  drop(prefix: string): void
  /** It is in the store, and the loop starts it. */
  leave(prefix: string): void
  /** Admitted: starts it, or leaves it to the loop. Never rejects. */
  start(flight: FlightStart): Promise<void>
  /** Takes the marks along: whoever does says what became of them. */
  marks(): string[]
  marksWritten(marks: readonly string[]): void
  marksLost(marks: readonly string[]): void
  /** Waits that long for what is left to be started; that is the guard's from then on. */
  stop(withinMs: number): Promise<void>
}

/** A try that Temporal does not answer holds up the loop for so long. */
const tryMs = 5_000
const markWithinMs = 10_000
const refusedAgainMs = 60_000
const unforeseenMs = 1_000

export function makeStarts(deps: StartsDeps): Starts {
  const { store, temporal, processId } = deps
  const stopping = new AbortController()
  /** Being admitted, being started, in doubt, or started and not marked in the store yet. */
  const inHand = new Set<string>()
  const told = new Set<string>()
  let started: string[] = []
  let looping: Promise<void> | undefined
  /** Something was left to the loop since it began to read the list. */
  let again = false
  let marking: NodeJS.Timeout | undefined
  let askingAgain: NodeJS.Timeout | undefined
  const starting = new Set<Promise<void>>()

  function leave(prefix: string): void {
    inHand.delete(prefix)
    again = true
    looping ??= loop()
  }

  async function loop(): Promise<void> {
    while (again && !stopping.signal.aborted) {
      again = false
      try {
        if ((await startLeft()) > 0) askRefusedAgain()
      } catch {
        // Whatever it was, what is left to be started stays ours.
        again = true
        await delay(unforeseenMs, undefined, { signal: stopping.signal, ref: false }).catch(() => undefined)
      }
    }
    looping = undefined
  }

  function askRefusedAgain(): void {
    askingAgain ??= setTimeout(() => {
      askingAgain = undefined
      leave('')
    }, refusedAgainMs).unref()
  }

  function startLeft(): Promise<number> {
    return startUnstarted({
      list: (after) => store.unstarted(processId, after),
      start: (flight) => temporal.startFlight(flight, tryMs),
      onStarted: (prefixes) => prefixes.forEach(hasStarted),
      onRefused: tellOnce,
      isInHand: (prefix) => inHand.has(prefix),
      signal: stopping.signal,
    })
  }

  function tellOnce(flight: FlightStart): void {
    if (told.has(flight.prefix)) return
    told.add(flight.prefix)
    deps.onRefused?.(flight)
  }

  function hasStarted(prefix: string): void {
    inHand.add(prefix)
    started.push(prefix)
    marking ??= setTimeout(() => void writeMarks(), markWithinMs).unref()
  }

  /** Only what no admission has taken along. */
  async function writeMarks(): Promise<void> {
    marking = undefined
    const marks = takeMarks()
    if (marks.length === 0) return
    try {
      await store.markStarted(marks)
      marksWritten(marks)
    } catch {
      marksLost(marks)
    }
  }

  function takeMarks(): string[] {
    const marks = started
    started = []
    return marks
  }

  function marksWritten(marks: readonly string[]): void {
    for (const prefix of marks) inHand.delete(prefix)
  }

  function marksLost(marks: readonly string[]): void {
    marks.forEach(hasStarted)
  }

  async function startNow(flight: FlightStart): Promise<void> {
    const answer = await temporal.startFlight(flight, tryMs).catch((): StartAnswer => 'refused')
    if (answer !== 'started') return leave(flight.prefix)
    hasStarted(flight.prefix)
    deps.onFlight?.(flight.ids.length)
  }

  return {
    take: (prefix) => void inHand.add(prefix),
    drop: (prefix) => void inHand.delete(prefix),
    leave,
    async start(flight) {
      if (looping !== undefined) return leave(flight.prefix)
      const underWay = startNow(flight)
      starting.add(underWay)
      await underWay.finally(() => starting.delete(underWay))
    },
    marks: takeMarks,
    marksWritten,
    marksLost,
    async stop(withinMs) {
      const late = () => delay(withinMs, undefined, { ref: false })
      await Promise.race([Promise.all(starting).then(() => looping), late()])
      stopping.abort()
      clearTimeout(marking)
      clearTimeout(askingAgain)
      await Promise.race([writeMarks(), late()])
    },
  }
}
