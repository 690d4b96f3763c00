/** The life of the prediction service in one process: guarded, open, drained. Owns no routes, and not the process's row. */
import { setTimeout as delay } from 'node:timers/promises'
import { ServiceError } from '../contracts/errors.ts'
import { type PlatformName, prefixOf } from '../contracts/names.ts'
import type { QueueBacklog } from '../metrics.ts'
import type { CallPlatform, Platform } from '../platforms/platform.ts'
import type { HeldCalls, OutboxSender, Store, TerminalWaiter } from '../records/store.ts'
import { openTemporalApi, type TemporalApiOptions } from '../runtime/temporal/client.ts'
import { type DirectDeps, makeDirectCalls } from './direct.ts'
import { makeDoubts } from './doubts.ts'
import { makeRunTimes } from './figures.ts'
import { makeFlights } from './flights.ts'
import { type GenerationDeps, type Generations, makeGenerations } from './generation.ts'
import type { PredictionService } from './predictions.ts'
import { orQuiet, quiet } from './quiet.ts'
import { makeSendLater } from './send-later.ts'
import { makePredictionService, type ServiceDeps } from './service.ts'
import { makeStarts, type StartsDeps } from './starts.ts'

export interface LifecycleOptions {
  store: Store
  held: HeldCalls
  waiter: TerminalWaiter
  platform(name: PlatformName): Platform
  processId: string
  /** True once `processId` is registered in the store, false if it never will be; absent = it is. */
  registered?: Promise<boolean>
  temporal: TemporalApiOptions
  /** `TASK_TYPE_NAME`. */
  queue: string
  maxQueueSize: number
  taskTimeoutMs: number
  workerConcurrency: number
  /** How long a sync prediction on a job platform may wait to be taken up; 30 s unless told otherwise. */
  queueAllowanceMs?: number
  /** Makes what sends the outbox, given how a webhook's delivery starts. Absent: nothing is sent. */
  makeOutbox?(startDelivery: (id: string) => Promise<void>): OutboxSender
  /** A streamed prediction whose record this process has ended. */
  onStreamEnd?: GenerationDeps['onEnd']
  /** A request was answered with an earlier prediction. */
  onReplay?(): void
  onFlight?: StartsDeps['onFlight']
  onRefused?: StartsDeps['onRefused']
  /** Of the direct calls of this process. */
  onCall?: DirectDeps['onCall']
  onCancelHeard?: DirectDeps['onCancelHeard']
  onCanceled?: ServiceDeps['onCanceled']
  /** Another process has declared this one dead: it must exit at once. */
  onDead(): void
  /** Hears once why predictions are not accepted yet. */
  warn?(text: string): void
}

export interface Lifecycle {
  service: PredictionService
  generations: Generations
  /** How much waits in Temporal's task queues; rejects when it is away. */
  queueBacklogs(): Promise<QueueBacklog[]>
  /** Resolves when the guard has opened this process for the first time. */
  opened: Promise<void>
  /** Throws while the store is missing, or the guard has not opened this process yet; for `/ready`. */
  ready(): Promise<void>
  /** Throws while Temporal does not answer. */
  pingTemporal(): Promise<void>
  /** Admits nothing more and lets what it answers itself end. The process is still the holder of what its workers run. */
  drain(): Promise<void>
}

/** A flight that somebody waits for gets its budget from the first call on; this is for the way there. */
const standardAllowanceMs = 30_000
const firstPauseMs = 200
const longestPauseMs = 2_000
/** A guard that an operator terminated is started again within this time. */
const guardCheckMs = 15_000
const longestGuardStartMs = 1_000
/** What Temporal or the store has not answered by then is the guard's. */
const leftToGuardMs = 2_000
const pingDeadlineMs = 2_500

export function startLifecycle(options: LifecycleOptions): Lifecycle {
  const { store, processId, queue, taskTimeoutMs, queueAllowanceMs = standardAllowanceMs } = options
  // Whoever registers says what went wrong with it.
  const registered = (options.registered ?? Promise.resolve(true)).catch(() => false)
  const temporal = openTemporalApi(options.temporal)
  const stopping = new AbortController()
  const opened = Promise.withResolvers<void>()
  let isOpen = false
  let drained: Promise<void> | undefined

  const laneOf = (name: PlatformName) => options.platform(name).lane
  const outbox = options.makeOutbox?.((id) => temporal.startDelivery({ id }))
  const sendLater = outbox && makeSendLater(outbox)
  const mirror = outbox?.mirrors ? sendLater : undefined
  const { onFlight, onRefused } = options
  const starts = makeStarts({ store, temporal, processId, onFlight, onRefused })
  const doubts = makeDoubts({ store, starts, processId, queue })
  const shared = { store, processId, queue, doubts, onDead: options.onDead }
  const flights = makeFlights({
    ...shared,
    starts,
    runTimes: makeRunTimes(store),
    maxQueueSize: options.maxQueueSize,
    workerConcurrency: options.workerConcurrency,
    laneOf,
    onReplay: options.onReplay,
  })
  const direct = makeDirectCalls({
    ...shared,
    held: options.held,
    taskTimeoutMs,
    platform: (name) => callPlatform(options.platform(name)),
    waiter: options.waiter,
    ...(mirror !== undefined && { mirror }),
    ...(options.onReplay !== undefined && { onReplay: options.onReplay }),
    ...(options.onCall && { onCall: options.onCall }),
    ...(options.onCancelHeard && { onCancelHeard: options.onCancelHeard }),
  })
  const generations = makeGenerations({
    ...shared,
    held: options.held,
    waiter: options.waiter,
    taskTimeoutMs,
    platform: options.platform,
    submit: flights.submit,
    wake: (id) => void temporal.wakeFlight(prefixOf(id)).catch(() => undefined),
    queueAllowanceMs,
    mirror,
    ...(options.onStreamEnd !== undefined && { onEnd: options.onStreamEnd }),
    ...(options.onReplay !== undefined && { onReplay: options.onReplay }),
  })
  const service = makePredictionService({
    store,
    waiter: options.waiter,
    temporal,
    flights,
    direct,
    queue,
    taskTimeoutMs,
    laneOf,
    queueAllowanceMs,
    ...(options.onCanceled && { onCanceled: options.onCanceled }),
  })

  /** Starting a guard that runs changes nothing, so it is simply repeated. */
  async function keepGuarded(): Promise<void> {
    if (!(await registered)) return
    let pauseMs = firstPauseMs
    let hasSaid = false
    while (!stopping.signal.aborted) {
      try {
        await temporal.startGuard(processId)
        isOpen = await untilOpen()
        if (isOpen) opened.resolve()
        pauseMs = isOpen ? guardCheckMs : firstPauseMs
      } catch (error) {
        // Temporal or the store is away: /ready says so, and this goes on trying.
        if (!hasSaid && !stopping.signal.aborted) options.warn?.(`not open yet: ${reasonIn(error)}`)
        hasSaid = true
        pauseMs = Math.min(longestPauseMs, pauseMs * 2)
      }
      await delay(pauseMs, undefined, { signal: stopping.signal }).catch(() => undefined)
    }
  }

  /** False too once the guard has had its time: it may have been terminated before any worker ran. */
  async function untilOpen(): Promise<boolean> {
    const endMs = performance.now() + guardCheckMs
    while (!stopping.signal.aborted && performance.now() < endMs) {
      const state = await store.observeProcess(processId)
      if (state === 'dead') options.onDead()
      if (state !== 'new') return state === 'open'
      await delay(firstPauseMs / 4)
    }
    return false
  }

  const guarding = keepGuarded()

  return {
    service,
    generations,
    queueBacklogs: () => temporal.backlogs(),
    opened: opened.promise,
    pingTemporal: () => temporal.ping(pingDeadlineMs),
    async ready() {
      await pingStore()
      if (!isOpen)
        throw new ServiceError('temporal_unavailable', 'the guard of this process does not run yet')
    },
    drain() {
      drained ??= drain()
      return drained
    },
  }

  /** The store's own deadline is longer than a check may take: who is away must still be named. */
  async function pingStore(): Promise<void> {
    if ((await orQuiet(store.ping(), pingDeadlineMs)) === quiet)
      throw new ServiceError('store_unavailable', 'the record store does not answer')
  }

  async function drain(): Promise<void> {
    stopping.abort()
    // A start that Temporal does not answer is not waited for: a guard that starts late finds this process gone.
    await Promise.race([guarding, delay(longestGuardStartMs)])
    try {
      if (await registered) await store.closeProcess(processId)
    } finally {
      // A store that is away ends no call that runs.
      await Promise.all([flights.drained(), direct.drained(), generations.drained()])
      await Promise.all([starts.stop(leftToGuardMs), doubts.stop(leftToGuardMs)])
      sendLater?.stop()
      await temporal.close()
    }
  }
}

/** The message, and what the server said about it. */
function reasonIn(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  let inner = error
  while (inner.cause instanceof Error) inner = inner.cause
  const details = 'details' in inner && inner.details !== '' ? inner.details : inner.message
  return inner === error ? error.message : `${error.message}: ${details}`
}

function callPlatform(platform: Platform): CallPlatform {
  if (platform.lane === 'call') return platform
  throw new ServiceError('platform_unsupported', 'this platform has no direct calls', { legacyCode: 20006 })
}
