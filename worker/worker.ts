/** The Temporal workers of one process: flights on the deployment's queue, guards on a queue of their own. */
import {
  type NativeConnection,
  type NativeConnectionOptions,
  Worker as TemporalWorker,
  type Worker,
  type WorkerOptions,
} from '@temporalio/worker'
import type { CallDeps } from '../activities/call.ts'
import { makeDeliveryActivities, type WebhookSending } from '../activities/delivery.ts'
import { withFailures } from '../activities/failure.ts'
import { makeFlightActivities } from '../activities/fly.ts'
import { type GuardDeps, makeGuardActivities } from '../activities/guard.ts'
import { makeOwnershipActivities, type OwnershipDeps } from '../activities/ownership.ts'
import { makePlaces } from '../activities/places.ts'
import { makeRetentionActivities } from '../activities/retention.ts'
import { makeWakeActivities, type WakeDeps } from '../activities/wake.ts'
import { deliveryQueueOf, guardQueueOf } from '../contracts/names.ts'
import type { FoundOwnerless } from '../contracts/ownership.ts'
import type { Mirror } from '../records/mirror.ts'
import { makeOutboxSender, type OutboxPauses } from '../records/outbox-sender.ts'
import { makeTemporalApi } from '../runtime/temporal/client.ts'
import { tracedActivities, traceSinks } from '../tracing/temporal.ts'
import type { Bundle } from './bundle.ts'
import { connectWorker } from './connect.ts'
import { makeDeliveryStart } from './deliveries.ts'
import { makeSchedules } from './schedules.ts'
import { registerSearchAttributes } from './search-attributes.ts'
import { createValidationWorkers, type ValidationSettings, type ValidationWorkers } from './validation.ts'

export interface WorkersOptions extends Omit<CallDeps, 'outbox'> {
  /** The external record service; absent = no mirror. */
  mirror?: Mirror
  outboxPauses?: OutboxPauses
  /** Absent: webhooks wait for a worker that has it. */
  webhooks?: WebhookSending
  /** Milliseconds between the tries of a webhook; absent = the standard schedule. */
  deliveryDelaysMs?: readonly number[]
  connection: NativeConnectionOptions
  namespace: string
  taskQueue: string
  /** `TASK_TYPE_NAME`: whose records they are. */
  queue: string
  bundle: Bundle
  /** Platform calls at once (`WORKER_CONCURRENCY`). */
  concurrency: number
  /** Terminal records older than this are deleted. */
  retentionMs: number
  /** Deletes uploaded files that are older and whose prediction is gone. */
  expireFiles?: (retentionMs: number) => Promise<void>
  /** Between two ownership checks; absent = an hour. */
  ownershipEveryMs?: number
  /** An open record had no live workflow. */
  onOwnerless?(found: FoundOwnerless): void
  onOwnershipChecked?(): void
  /** A validation has ended. */
  onVerdict?(ended: { id: string; verdict: string; createdAt: string }): void
  /** Absent: this process runs no validations. */
  validation?: ValidationSettings
  /** Temporal refuses a flight that an API process has accepted. */
  onRefused?: GuardDeps['onRefused']
  warn(text: string): void
  info(text: string): void
}

export interface Workers {
  /** Resolves when all workers poll. */
  started: Promise<void>
  /** Rejects if a worker fails for good; resolves after `stop`. */
  ended: Promise<void>
  /** True while all poll. */
  running(): boolean
  /** Takes nothing new; calls that run go on, to the task timeout. Then the connection closes. */
  stop(): Promise<void>
}

type ActivityParts = CallDeps &
  GuardDeps &
  OwnershipDeps &
  WakeDeps &
  Pick<WorkersOptions, 'concurrency' | 'retentionMs' | 'expireFiles' | 'webhooks'>

/** What the workers of predictions run, by their queue. */
export function makeActivities(parts: ActivityParts, draining: AbortSignal) {
  const { store, concurrency, retentionMs, expireFiles, webhooks } = parts
  const places = makePlaces(concurrency)
  return {
    flights: withFailures(makeFlightActivities({ ...parts, places, draining })),
    guards: withFailures({
      ...makeGuardActivities(parts),
      ...makeRetentionActivities(store, retentionMs, expireFiles),
      ...makeOwnershipActivities(parts),
      ...makeWakeActivities(parts),
    }),
    deliveries: webhooks && withFailures(makeDeliveryActivities(store, webhooks)),
  }
}

/** Flights that wait (for a store, for a call elsewhere) must not keep ready ones from the free places. */
const spareActivities = 4
const guardActivities = 1_000
/** Tries to deliver a webhook, at once in one process. */
const deliveryActivities = 100
const cachedWorkflows = 300

export function startWorkers(options: WorkersOptions): Workers {
  const draining = new AbortController()
  let workers: Worker[] = []
  let validations: ValidationWorkers | undefined
  let connection: NativeConnection | undefined
  const started = Promise.withResolvers<void>()
  // Whoever does not wait for the start learns of its failure from `ended`.
  started.promise.catch(() => undefined)

  async function run(): Promise<void> {
    connection = await connectWorker(options, draining.signal)
    if (connection === undefined) return started.resolve()
    await registerSearchAttributes(connection, options.namespace, options.warn)
    await makeSchedules(connection, options, options.warn)
    workers = await createWorkers(options, connection, draining.signal)
    if (options.validation !== undefined) {
      const { validation } = options
      validations = await createValidationWorkers(connection, {
        ...options,
        validation,
        draining: draining.signal,
      })
      workers.push(...validations.workers)
    }
    const runs = workers.map((worker) => worker.run())
    started.resolve()
    if (draining.signal.aborted) stopPolling()
    try {
      await Promise.all(runs)
    } finally {
      // One worker failed: the other must not stay behind half-alive.
      draining.abort()
      stopPolling()
      await Promise.allSettled(runs)
      await validations?.drained()
      await connection.close()
    }
  }

  function stopPolling(): void {
    for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown()
  }

  const ended = run()
  ended.catch((error) => started.reject(error))

  return {
    started: started.promise,
    ended,
    running: () => workers.length > 0 && workers.every((worker) => worker.getState() === 'RUNNING'),
    async stop() {
      draining.abort()
      stopPolling()
      await ended
    },
  }
}

async function createWorkers(
  options: WorkersOptions,
  connection: NativeConnection,
  draining: AbortSignal,
): Promise<Worker[]> {
  const { namespace, taskQueue, bundle, concurrency, limits, store } = options
  const shared = {
    connection,
    namespace,
    workflowBundle: bundle,
    // With the default of 10 s, the workflows of a killed worker wait that long for it.
    stickyQueueScheduleToStartTimeout: '1s',
    maxCachedWorkflows: cachedWorkflows,
    // One isolate is enough: a flight's decisions take microseconds, and each isolate costs tens of megabytes.
    workflowThreadPoolSize: 1,
    interceptors: { activity: [tracedActivities] },
    sinks: traceSinks,
  } satisfies Partial<WorkerOptions>
  const startDelivery = makeDeliveryStart(connection, options)
  const temporal = {
    ...makeTemporalApi(connection, { namespace, taskQueue }),
    startDelivery: ({ id }: { id: string }) => startDelivery(id),
  }
  const outbox = makeOutboxSender({
    store,
    ...(options.mirror !== undefined && { mirror: options.mirror }),
    ...options.outboxPauses,
    startDelivery,
    warn: options.warn,
  })
  const activities = makeActivities({ ...options, outbox, temporal }, draining)
  const flights = await TemporalWorker.create({
    ...shared,
    taskQueue,
    activities: activities.flights,
    maxConcurrentActivityTaskExecutions: concurrency + spareActivities,
    shutdownGraceTime: limits.taskTimeoutMs,
  })
  const guards = await TemporalWorker.create({
    ...shared,
    taskQueue: guardQueueOf(taskQueue),
    activities: activities.guards,
    maxConcurrentActivityTaskExecutions: guardActivities,
    shutdownGraceTime: 0,
  })
  if (activities.deliveries === undefined) return [flights, guards]
  // Without workflows, so that it costs next to nothing while there are no webhooks.
  const deliveries = await TemporalWorker.create({
    connection,
    namespace,
    taskQueue: deliveryQueueOf(taskQueue),
    activities: activities.deliveries,
    maxConcurrentActivityTaskExecutions: deliveryActivities,
    maxConcurrentActivityTaskPolls: 2,
    shutdownGraceTime: 0,
    interceptors: { activity: [tracedActivities] },
  })
  return [flights, guards, deliveries]
}
