/** Asynchronous admission: requests that arrive while a departure is under way leave together. Owns groups and answers. */
import type { FlightStart } from '../contracts/flights.ts'
import { flightIdOf, type Lane, type PlatformName } from '../contracts/names.ts'
import { isSampled } from '../contracts/trace.ts'
import { withUploadAddress } from '../platforms/inputs.ts'
import {
  type ItemAdmitted,
  isInDoubt,
  type NewFlight,
  type NewPrediction,
  type Store,
} from '../records/store.ts'
import { inSpan, type SpanSettings } from '../tracing.ts'
import type { Doubts } from './doubts.ts'
import type { RunTimes } from './figures.ts'
import { makeFlightIds } from './ids.ts'
import type { Accepted, AcceptedRequest } from './predictions.ts'
import { orQuiet } from './quiet.ts'
import { mismatch, notOpen, queueFull } from './refusals.ts'
import type { Starts } from './starts.ts'

export interface FlightsDeps {
  store: Pick<Store, 'admit'>
  starts: Starts
  doubts: Pick<Doubts, 'admitted'>
  runTimes: RunTimes
  processId: string
  /** `TASK_TYPE_NAME`. */
  queue: string
  maxQueueSize: number
  /** Platform calls at once in one worker process. */
  workerConcurrency: number
  laneOf(platform: PlatformName): Lane
  /** A request was answered with an earlier prediction. */
  onReplay?: (() => void) | undefined
  /** The store says that this process is dead: it must exit. */
  onDead(): void
}

export interface Flights {
  /** Resolves when the prediction is durably accepted; its id may be an earlier one (idempotency key). */
  submit(request: AcceptedRequest): Promise<Accepted>
  /** Resolves when no request is between admission and answer. */
  drained(): Promise<void>
}

/** Above this the activity's payload and the loss of a whole group weigh more than what grouping saves. */
const maxFlightSize = 200
/** Of inputs: an admission is one transaction, with a deadline. */
const maxFlightBytes = 16 * 1024 * 1024
/** A flight is no more than this much work for one worker process, so that long calls fly alone. */
const maxFlightWorkMs = 1_000
/** A start that Temporal takes longer to answer does not hold up the next group. */
const startHeadMs = 100
const shortHeartbeatMs = 2_000
const longHeartbeatMs = 10_000
/** Heartbeats are writes in Temporal: calls this many times longer than the timeout may beat more slowly. */
const heartbeatShare = 5

interface Waiting {
  request: AcceptedRequest
  resolve(answer: Accepted): void
  reject(error: unknown): void
}

interface Group {
  key: string
  waiting: Waiting[]
  departing: boolean
}

export function makeFlights(deps: FlightsDeps): Flights {
  const { starts, doubts } = deps
  const groups = new Map<string, Group>()
  const idle: Array<() => void> = []
  let unanswered = 0

  function submit(request: AcceptedRequest): Promise<Accepted> {
    return new Promise((resolve, reject) => {
      const group = groupOf(request)
      group.waiting.push({ request, resolve, reject })
      unanswered++
      if (!group.departing) {
        group.departing = true
        // The other requests of this turn of the event loop join; nobody waits for a timer.
        setImmediate(() => void departAll(group))
      }
    })
  }

  function groupOf({ target, priority, uid, streamed = false }: AcceptedRequest): Group {
    const limited = target.concurrency === undefined ? '' : target.name
    const key = JSON.stringify([target.platform, priority ?? 0, uid, limited, streamed])
    const known = groups.get(key)
    if (known !== undefined) return known
    const group: Group = { key, waiting: [], departing: false }
    groups.set(key, group)
    return group
  }

  async function departAll(group: Group): Promise<void> {
    while (group.waiting.length > 0) await depart(takeFlight(group.waiting))
    // Keys name end users: an empty group is not kept.
    groups.delete(group.key)
  }

  /** The next flight's members: bounded by number, bytes and work for one process, at least one. */
  function takeFlight(waiting: Waiting[]): Waiting[] {
    let workMs = 0
    let bytes = 0
    let size = 0
    while (size < waiting.length && size < maxFlightSize) {
      const { target, inputs } = waiting[size]!.request
      workMs += deps.runTimes.meanRunMs(target.name) / deps.workerConcurrency
      bytes += Buffer.byteLength(inputs)
      if (size > 0 && (workMs > maxFlightWorkMs || bytes > maxFlightBytes)) break
      size++
    }
    return waiting.splice(0, size)
  }

  /** Admits, answers, starts. Resolves when the next group may leave. */
  async function depart(members: Waiting[]): Promise<void> {
    let flight: Departed | undefined
    try {
      flight = await admit(members)
      const { ids, items } = flight
      members.forEach((member, at) => {
        answer(member, ids[at]!, items[at]!)
      })
    } catch (error) {
      for (const member of members) member.reject(error)
    } finally {
      unanswered -= members.length
      if (unanswered === 0) for (const wake of idle.splice(0)) wake()
    }
    if (flight !== undefined) await orQuiet(start(flight, members), startHeadMs)
  }

  async function admit(members: Waiting[]): Promise<Departed> {
    for (;;) {
      const { prefix, ids } = makeFlightIds(members.length)
      const items = members.map(({ request }, at) => newPrediction(ids[at]!, request))
      const flight = flightOf(prefix, members)
      const admitted = await admitAs(flight, items)
      if (admitted.outcome === 'admitted') return { flight, ids, items: admitted.items }
      starts.drop(prefix)
      if (admitted.outcome === 'process_not_open') {
        if (admitted.state === 'dead') deps.onDead()
        throw notOpen(admitted.state)
      }
    }
  }

  async function admitAs(flight: NewFlight, items: NewPrediction[]) {
    const { processId, queue, maxQueueSize } = deps
    const started = starts.marks()
    starts.take(flight.prefix)
    try {
      const admitted = await deps.store.admit({ processId, queue, maxQueueSize, flight, items, started })
      if (admitted.outcome === 'admitted') starts.marksWritten(started)
      else starts.marksLost(started)
      return admitted
    } catch (error) {
      starts.marksLost(started)
      // Whoever has a key will ask again; the others have been told that it is not accepted.
      if (isInDoubt(error)) {
        const keyless = items.filter(({ idempotency }) => idempotency === undefined)
        doubts.admitted(
          flight.prefix,
          keyless.map(({ id }) => id),
        )
      } else starts.drop(flight.prefix)
      throw error
    }
  }

  function flightOf(prefix: string, members: Waiting[]): NewFlight {
    const { target, priority, uid: fairnessKey, streamed } = members[0]!.request
    const { platform } = target
    const lane = deps.laneOf(platform)
    return {
      prefix,
      platform,
      lane,
      heartbeatTimeoutMs: heartbeatOf(members),
      priority,
      fairnessKey,
      streamed,
    }
  }

  function heartbeatOf(members: Waiting[]): number {
    const longestMs = Math.max(...members.map(({ request }) => deps.runTimes.meanRunMs(request.target.name)))
    return Math.round(Math.min(longHeartbeatMs, Math.max(shortHeartbeatMs, longestMs / heartbeatShare)))
  }

  function answer({ request, resolve, reject }: Waiting, id: string, item: ItemAdmitted): void {
    switch (item.outcome) {
      case 'accepted':
        request.onId?.(id, flightIdOf(id))
        resolve({ id })
        break
      case 'earlier':
        request.onId?.(item.id)
        deps.onReplay?.()
        resolve({ id: item.id, earlier: true })
        break
      case 'full':
        reject(queueFull())
        break
      case 'mismatch':
        reject(mismatch())
    }
  }

  async function start({ flight, ids, items }: Departed, members: Waiting[]): Promise<void> {
    const { prefix } = flight
    const accepted = members.filter((_, at) => items[at]?.outcome === 'accepted')
    if (accepted.length === 0) {
      starts.drop(prefix)
      return
    }
    const deadlines = accepted.flatMap(({ request }) => request.cancelAfterMs ?? [])
    const plan: FlightStart = {
      ...flight,
      ids: ids.filter((_, at) => items[at]?.outcome === 'accepted'),
      models: [...new Set(accepted.map(({ request }) => request.target.name))],
      streamer: flight.streamed ? deps.processId : undefined,
      deadlineInMs: deadlines.length === 0 ? undefined : Math.min(...deadlines),
    }
    await inSpan('start flight', startSpanOf(prefix, accepted), () => starts.start(plan))
  }

  return {
    submit,
    drained: () => (unanswered === 0 ? Promise.resolve() : new Promise((resolve) => idle.push(resolve))),
  }
}

interface Departed {
  flight: NewFlight
  ids: string[]
  items: ItemAdmitted[]
}

/** A flight belongs to the first of its members' traces that is recorded, and is linked with the others. */
function startSpanOf(prefix: string, members: readonly Waiting[]): SpanSettings {
  const traces = new Set(members.flatMap(({ request: { trace } }) => trace ?? []))
  const parent = traces.values().find(isSampled) ?? [...traces][0]
  return {
    kind: 'producer',
    parent,
    links: [...traces].filter((trace) => trace !== parent),
    attributes: { 'temporal.workflow.id': flightIdOf(prefix), 'perdure.flight.size': members.length },
  }
}

function newPrediction(id: string, request: AcceptedRequest): NewPrediction {
  const { target, inputs, uid, idempotency, webhook, sync, cancelAfterMs, retryOf, trace } = request
  return {
    id,
    modelName: target.name,
    modelVersion: target.version,
    inputs: withUploadAddress(inputs, request.uploadAddress?.(id)),
    uid,
    ...(idempotency === undefined ? {} : { idempotency }),
    ...(webhook === undefined ? {} : { webhook }),
    ...(sync === undefined ? {} : { sync }),
    ...(cancelAfterMs === undefined ? {} : { cancelAfterMs }),
    ...(retryOf === undefined ? {} : { retryOf }),
    ...(trace === undefined ? {} : { trace }),
  }
}
