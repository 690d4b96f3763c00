/** Asynchronous admission: requests that arrive while a start is under way leave together. Owns groups and starts. */
import { codeOf } from '../contracts/errors.ts'
import type { FlightStart } from '../contracts/flights.ts'
import { flightIdOf, type Lane } from '../contracts/names.ts'
import { isSampled } from '../contracts/trace.ts'
import { withUploadAddress } from '../platforms/inputs.ts'
import type { Admitted, ItemAdmitted, NewPrediction, Store } from '../records/store.ts'
import type { TemporalApi } from '../runtime/temporal/client.ts'
import { inSpan, type SpanSettings } from '../tracing.ts'
import type { RunTimes } from './figures.ts'
import { makeFlightIds } from './ids.ts'
import type { Accepted, AcceptedRequest } from './predictions.ts'
import { mismatch, notOpen, notStarted, queueFull } from './refusals.ts'
import type { SendLater } from './send-later.ts'

export interface FlightsDeps {
  store: Store
  temporal: TemporalApi
  runTimes: RunTimes
  processId: string
  /** `TASK_TYPE_NAME`. */
  queue: string
  maxQueueSize: number
  /** Platform calls at once in one worker process. */
  workerConcurrency: number
  laneOf(platform: AcceptedRequest['target']['platform']): Lane
  /** Tells of records that were discarded and have no flight to do so. */
  sendLater?: SendLater
  /** A request was answered with an earlier prediction. */
  onReplay?(): void
  /** A flight with so many predictions has started. */
  onFlight?(predictions: number): void
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
/** A flight is no more than this much work for one worker process, so that long calls fly alone. */
const maxFlightWorkMs = 1_000
const startDeadlineMs = 10_000
const shortHeartbeatMs = 2_000
const longHeartbeatMs = 10_000
/** Heartbeats are writes in Temporal: calls this many times longer than the timeout may beat more slowly. */
const heartbeatShare = 5
const discardPauseMs = 1_000

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
  const groups = new Map<string, Group>()
  const idle: Array<() => void> = []
  let started: string[] = []
  let inFlight = 0

  function submit(request: AcceptedRequest): Promise<Accepted> {
    return new Promise((resolve, reject) => {
      const group = groupOf(request)
      group.waiting.push({ request, resolve, reject })
      inFlight++
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

  /** The next flight's members: at most 200, at most a second of work for one process, at least one. */
  function takeFlight(waiting: Waiting[]): Waiting[] {
    let workMs = 0
    let size = 0
    while (size < waiting.length && size < maxFlightSize) {
      workMs += deps.runTimes.meanRunMs(waiting[size]!.request.target.name) / deps.workerConcurrency
      if (size > 0 && workMs > maxFlightWorkMs) break
      size++
    }
    return waiting.splice(0, size)
  }

  async function depart(members: Waiting[]): Promise<void> {
    try {
      const { prefix, ids, items, heartbeatTimeoutMs } = await admit(members)
      const accepted = ids.filter((_, at) => items[at]?.outcome === 'accepted')
      members.forEach(({ request }, at) => {
        const item = items[at]
        if (item?.outcome === 'accepted') request.onId?.(ids[at]!, flightIdOf(prefix))
        if (item?.outcome === 'earlier') request.onId?.(item.id)
      })
      const refused = accepted.length === 0 ? [] : await start(prefix, accepted, heartbeatTimeoutMs, members)
      members.forEach((member, at) => {
        answer(member, ids[at]!, items[at]!, refused)
      })
    } catch (error) {
      for (const member of members) member.reject(error)
    } finally {
      inFlight -= members.length
      if (inFlight === 0) for (const wake of idle.splice(0)) wake()
    }
  }

  async function admit(members: Waiting[]) {
    const { target, priority, uid: fairnessKey, streamed } = members[0]!.request
    const { platform } = target
    const heartbeatTimeoutMs = heartbeatOf(members)
    const marks = started
    started = []
    for (;;) {
      const { prefix, ids } = makeFlightIds(members.length)
      const admitted = await admitAs(prefix, ids, marks).catch((error) => {
        started.push(...marks)
        throw error
      })
      if (admitted.outcome === 'admitted') return { prefix, ids, items: admitted.items, heartbeatTimeoutMs }
      if (admitted.outcome === 'process_not_open') {
        started.push(...marks)
        if (admitted.state === 'dead') deps.onDead()
        throw notOpen(admitted.state)
      }
    }

    function admitAs(prefix: string, ids: string[], marks: string[]): Promise<Admitted> {
      return deps.store.admit({
        processId: deps.processId,
        queue: deps.queue,
        maxQueueSize: deps.maxQueueSize,
        flight: {
          prefix,
          platform,
          lane: deps.laneOf(platform),
          heartbeatTimeoutMs,
          priority,
          fairnessKey,
          streamed,
        },
        items: members.map(({ request }, at) => newPrediction(ids[at]!, request)),
        started: marks,
      })
    }
  }

  function heartbeatOf(members: Waiting[]): number {
    const longestMs = Math.max(...members.map(({ request }) => deps.runTimes.meanRunMs(request.target.name)))
    return Math.round(Math.min(longHeartbeatMs, Math.max(shortHeartbeatMs, longestMs / heartbeatShare)))
  }

  /** Returns the ids that did not fly: the outcome of the start was unknown to the deadline, so they were discarded. */
  async function start(
    prefix: string,
    ids: string[],
    heartbeatTimeoutMs: number,
    members: Waiting[],
  ): Promise<string[]> {
    const { target, priority, uid, streamed } = members[0]!.request
    const { platform } = target
    const lane = deps.laneOf(platform)
    const deadlines = members.flatMap(({ request }) => request.cancelAfterMs ?? [])
    const dated = deadlines.length === 0 ? {} : { deadlineInMs: Math.min(...deadlines) }
    const models = [...new Set(members.map(({ request }) => request.target.name))]
    try {
      await inSpan('start flight', startSpanOf(prefix, members), () =>
        startWithin(startDeadlineMs, {
          ...{
            prefix,
            ids,
            lane,
            platform,
            heartbeatTimeoutMs,
            models,
            priority,
            fairnessKey: uid,
            ...dated,
          },
          streamer: streamed ? deps.processId : undefined,
        }),
      )
      started.push(prefix)
      deps.onFlight?.(ids.length)
      return []
    } catch (error) {
      if (codeOf(error) !== 'temporal_unavailable') throw error
      return await discard(ids)
    }
  }

  async function startWithin(deadlineMs: number, flight: FlightStart): Promise<void> {
    const endMs = performance.now() + deadlineMs
    for (let pauseMs = 50; ; pauseMs = Math.min(1_000, pauseMs * 2)) {
      try {
        await deps.temporal.startFlight(flight, endMs - performance.now())
        return
      } catch (error) {
        if (performance.now() + pauseMs >= endMs) throw error
        await new Promise((resolve) => setTimeout(resolve, pauseMs))
      }
    }
  }

  async function discard(ids: string[]): Promise<string[]> {
    try {
      const flying = new Set(await deps.store.discard(ids))
      const discarded = ids.filter((id) => !flying.has(id))
      for (const id of discarded) deps.sendLater?.send(id)
      return discarded
    } catch (error) {
      if (codeOf(error) !== 'store_unavailable') throw error
      discardLater(ids)
      return ids
    }
  }

  /** The callers are told 503 now; the records follow as soon as the store is back, or the guard starts the flight. */
  function discardLater(ids: string[]): void {
    const timer = setTimeout(() => {
      discard(ids).catch(() => discardLater(ids))
    }, discardPauseMs)
    timer.unref()
  }

  function answer(member: Waiting, id: string, item: ItemAdmitted, refused: string[]): void {
    if (item.outcome === 'earlier') {
      deps.onReplay?.()
      member.resolve({ id: item.id, earlier: true })
    } else if (item.outcome === 'full') member.reject(queueFull())
    else if (item.outcome === 'mismatch') member.reject(mismatch())
    else if (refused.includes(id)) member.reject(notStarted())
    else member.resolve({ id })
  }

  return {
    submit,
    drained: () => (inFlight === 0 ? Promise.resolve() : new Promise((resolve) => idle.push(resolve))),
  }
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
