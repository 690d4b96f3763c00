/** The activity of a flight: its members side by side within the places of the process. Owns waiting, never a status. */
import { setTimeout as delay } from 'node:timers/promises'
import type { FlightActivities, FlyInput, FlyReport, OpenPrediction } from '../contracts/flights.ts'
import { untilStored } from '../records/store.ts'
import { type CallDeps, makeSteps, type Step } from './call.ts'
import { heartbeating } from './heartbeat.ts'
import { type Leave, makePlaces, type Places } from './places.ts'

/** Members that found no free place for this long, while none of the flight runs, are handed back. */
const placeWaitMs = 2_000
/** How often a prediction in another live process's hands is looked at. */
const elsewhereMs = 500

export interface FlyDeps extends CallDeps {
  /** Platform calls at once, for all flights of this process. */
  places: Places
  /** Fires when the worker shuts down: nothing new is taken, what runs goes on. */
  draining: AbortSignal
}

export function makeFlightActivities(deps: FlyDeps): FlightActivities {
  const modelPlaces = makeModelPlaces(deps)
  return {
    fly(input) {
      const round = makeRound(deps, input, modelPlaces(input.model))
      // Cancellation of the activity (missed heartbeat, reset, shutdown) writes no status: calls run to their end.
      return heartbeating(round)
    },
    async cancelOpen(ids) {
      const results = await Promise.all(ids.map((id) => untilStored(() => deps.store.cancel(id))))
      deps.onOperatorCancel?.(results.filter(({ outcome }) => outcome === 'canceled').length)
    },
    async endOverdue(ids) {
      const { ended, nextMs } = await heartbeating(() => untilStored(() => deps.store.endOverdue(ids)))
      deps.onOverdue?.(ended.length)
      return nextMs === undefined ? {} : { nextMs }
    },
  }
}

function makeModelPlaces(deps: CallDeps) {
  const byModel = new Map<string, Places>()
  return (model: string | undefined): Places | undefined => {
    if (model === undefined) return undefined
    const known = byModel.get(model)
    if (known !== undefined) return known
    const limit = limitOf(deps, model)
    if (limit === undefined) return undefined
    const places = makePlaces(limit)
    byModel.set(model, places)
    return places
  }
}

function limitOf(deps: CallDeps, model: string): number | undefined {
  try {
    return deps.resolve(model).concurrency
  } catch {
    // The model has left the models file: its calls fail one by one, each with the reason.
    return undefined
  }
}

function makeRound(deps: FlyDeps, input: FlyInput, modelPlaces: Places | undefined) {
  const steps = makeSteps(deps, input.lane, input.streamer)
  const report: FlyReport = { succeeded: 0, failed: 0, canceled: 0, open: [] }
  /** Members that wait for a place, run, or look at a call elsewhere; the others only wait for a time. */
  let active = input.ids.length
  let running = 0
  let lastRunMs = Date.now()
  const idle = new AbortController()
  const giveUp = new AbortController()

  async function run(): Promise<FlyReport> {
    const stopGivingUp = watchPlaces()
    try {
      await Promise.all(input.ids.map(untilEndedOrOpen))
      return report
    } finally {
      stopGivingUp()
    }
  }

  function watchPlaces(): () => void {
    const abort = () => giveUp.abort()
    if (deps.draining.aborted) abort()
    deps.draining.addEventListener('abort', abort, { once: true })
    const timer = setInterval(() => {
      if (running === 0 && Date.now() - lastRunMs >= placeWaitMs) abort()
    }, placeWaitMs / 8)
    return () => {
      clearInterval(timer)
      deps.draining.removeEventListener('abort', abort)
    }
  }

  async function untilEndedOrOpen(id: string): Promise<void> {
    for (;;) {
      const next = (await steps.before?.(id)) ?? (await inPlace(id)) ?? (await outOfPlace(id))
      if (next === undefined) return handBack({ id, why: 'untaken', waitMs: 0 })
      if (next.kind === 'ended') {
        report[next.status]++
        return rest()
      }
      if (next.kind === 'elsewhere') await (next.until ?? delay(elsewhereMs))
      if (next.kind === 'wait' && !(await waitedHere(next.open))) return
    }
  }

  /** Undefined: there was no place. */
  async function inPlace(id: string): Promise<Step | undefined> {
    const leave = await enter()
    if (leave === undefined) return undefined
    running++
    const next = await steps.call(id).finally(() => {
      leave()
      running--
      lastRunMs = Date.now()
    })
    return steps.after(id, next)
  }

  async function outOfPlace(id: string): Promise<Step | undefined> {
    const next = await steps.without(id)
    return next && steps.after(id, next)
  }

  async function enter(): Promise<Leave | undefined> {
    const leaveModel = modelPlaces === undefined ? undefined : await modelPlaces.enter(giveUp.signal)
    if (modelPlaces !== undefined && leaveModel === undefined) return undefined
    const leave = await deps.places.enter(giveUp.signal)
    if (leave === undefined) {
      leaveModel?.()
      return undefined
    }
    return () => {
      leave()
      leaveModel?.()
    }
  }

  /**
   * While others of the flight still run, a member's wait is spent here: the flight could not end anyway. True when
   * the time has come; false when nothing runs any more: the member is handed back, and the workflow waits durably.
   */
  async function waitedHere(open: OpenPrediction): Promise<boolean> {
    const dueMs = Date.now() + open.waitMs
    rest()
    if (!idle.signal.aborted && !deps.draining.aborted) {
      const stop = AbortSignal.any([idle.signal, deps.draining])
      await delay(dueMs - Date.now(), undefined, { signal: stop }).catch(() => undefined)
    }
    if (idle.signal.aborted || deps.draining.aborted) {
      report.open.push({ ...open, waitMs: Math.max(0, dueMs - Date.now()) })
      return false
    }
    active++
    return true
  }

  function handBack(open: OpenPrediction): void {
    report.open.push(open)
    rest()
  }

  function rest(): void {
    active--
    if (active === 0) idle.abort()
  }

  return run
}
