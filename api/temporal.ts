/** What the API asks of Temporal: start flights and guards, wake flights, say whether it answers. */
import { Client, Connection, type ConnectionOptions, isGrpcServiceError } from '@temporalio/client'
import { defineSearchAttributeKey, type SearchAttributePair, SearchAttributeType } from '@temporalio/common'
import type { DeliveryInput } from '../contracts/deliveries.ts'
import { ServiceError } from '../contracts/errors.ts'
import { type FlightInput, searchAttributes } from '../contracts/flights.ts'
import {
  deliveryIdOf,
  deliveryQueueOf,
  flightIdOf,
  guardIdOf,
  guardQueueOf,
  wakeSignal,
  workflowNames,
  workflowTaskTimeoutMs,
} from '../contracts/names.ts'
import type { QueueBacklog } from '../metrics.ts'
import { tracedStarts } from '../tracing/temporal.ts'
import type { delivery } from '../workflows/delivery.ts'
import type { flight } from '../workflows/flight.ts'
import type { guard } from '../workflows/guard.ts'
import { queueBacklogs } from './backlog.ts'

export interface FlightStart {
  prefix: string
  input: FlightInput
  models: readonly string[]
  /** 1 (first) to 5. */
  priority?: number
  /** Whose share of the queue it counts against: tenant or `UID`. */
  fairnessKey?: string
}

export interface TemporalApi {
  /** Anyone may repeat a start: a flight that runs is left alone. Throws `temporal_unavailable`. */
  startFlight(start: FlightStart, deadlineMs: number): Promise<void>
  startGuard(processId: string): Promise<void>
  /** Repeatable: a delivery that is under way is left alone. */
  startDelivery(input: Omit<DeliveryInput, 'queue'>): Promise<void>
  /** Best effort; a flight that has ended needs no waking. */
  wakeFlight(prefix: string): Promise<void>
  /** Throws `temporal_unavailable`. */
  ping(deadlineMs: number): Promise<void>
  /** For metrics; rejects when Temporal is away. */
  backlogs(): Promise<QueueBacklog[]>
  close(): Promise<void>
}

export interface TemporalApiOptions {
  connection: ConnectionOptions
  namespace: string
  taskQueue: string
}

const names = searchAttributes
const modelName = defineSearchAttributeKey(names.modelName, SearchAttributeType.KEYWORD_LIST)
const platform = defineSearchAttributeKey(names.platform, SearchAttributeType.KEYWORD_LIST)
const flightSize = defineSearchAttributeKey(names.flightSize, SearchAttributeType.INT)
const repeatable = {
  workflowTaskTimeout: workflowTaskTimeoutMs,
  workflowIdReusePolicy: 'ALLOW_DUPLICATE',
  workflowIdConflictPolicy: 'USE_EXISTING',
} as const
/** A summary names the first models only: it is a line in a list. */
const namedModels = 3
const connectTimeoutMs = 5_000
const firstPauseMs = 50
const longestPauseMs = 1_000

export function makeTemporalApi(options: TemporalApiOptions): TemporalApi {
  const { taskQueue } = options
  const connection = Connection.lazy({ connectTimeout: connectTimeoutMs, ...options.connection })
  const client = new Client({
    connection,
    namespace: options.namespace,
    interceptors: { workflow: [tracedStarts] },
  })
  let registered: boolean | undefined

  async function attributesOf(start: FlightStart): Promise<SearchAttributePair[]> {
    registered ??= await areRegistered()
    if (!registered) return []
    return [
      { key: modelName, value: [...start.models] },
      { key: platform, value: [start.input.platform] },
      { key: flightSize, value: start.input.ids.length },
    ]
  }

  /** A start with unknown attributes is refused, so they are left out where nobody registered them. */
  async function areRegistered(): Promise<boolean> {
    const answer = await connection.operatorService.listSearchAttributes({ namespace: options.namespace })
    return Object.values(names).every((name) => name in (answer.customAttributes ?? {}))
  }

  async function startOnce(start: FlightStart): Promise<void> {
    const { priority, fairnessKey } = start
    await client.workflow.start<typeof flight>(workflowNames.flight, {
      taskQueue,
      workflowId: flightIdOf(start.prefix),
      args: [start.input],
      ...repeatable,
      typedSearchAttributes: await attributesOf(start),
      staticSummary: summaryOf(start),
      priority: {
        ...(priority === undefined ? {} : { priorityKey: priority }),
        ...(fairnessKey === undefined ? {} : { fairnessKey }),
      },
    })
  }

  return {
    async startFlight(start, deadlineMs) {
      const endMs = Date.now() + deadlineMs
      for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(longestPauseMs, pauseMs * 2)) {
        try {
          await connection.withDeadline(endMs, () => startOnce(start))
          return
        } catch (error) {
          if (isRefusal(error) || Date.now() + pauseMs >= endMs) throw unavailable(error)
          await new Promise((resolve) => setTimeout(resolve, pauseMs))
        }
      }
    },
    async startGuard(processId) {
      await translated(() =>
        client.workflow.start<typeof guard>(workflowNames.guard, {
          taskQueue: guardQueueOf(taskQueue),
          workflowId: guardIdOf(processId),
          args: [{ processId, flightQueue: taskQueue }],
          ...repeatable,
          staticSummary: 'guards an API process',
        }),
      )
    },
    async startDelivery(input) {
      await translated(() =>
        client.workflow.start<typeof delivery>(workflowNames.delivery, {
          taskQueue: guardQueueOf(taskQueue),
          workflowId: deliveryIdOf(input.id),
          args: [{ ...input, queue: deliveryQueueOf(taskQueue) }],
          ...repeatable,
          staticSummary: `webhook ${input.id}`,
        }),
      )
    },
    async wakeFlight(prefix) {
      await translated(() => client.workflow.getHandle(flightIdOf(prefix)).signal(wakeSignal))
    },
    async ping(deadlineMs) {
      await translated(() =>
        connection.withDeadline(Date.now() + deadlineMs, () =>
          connection.workflowService.describeNamespace({ namespace: options.namespace }),
        ),
      )
    },
    backlogs: () => queueBacklogs(connection, options),
    close: () => connection.close(),
  }
}

function summaryOf({ input, models }: FlightStart): string {
  const named = models.slice(0, namedModels).join(', ')
  const more = models.length > namedModels ? ', …' : ''
  return `${input.ids.length} × ${named}${more} on ${input.platform}`
}

async function translated<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    throw unavailable(error)
  }
}

function unavailable(cause: unknown): ServiceError {
  return new ServiceError('temporal_unavailable', 'the workflow service cannot be reached', { cause })
}

/** gRPC codes that say the start did not and will not happen: INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, UNAUTHENTICATED. */
const refusals: ReadonlySet<number> = new Set([3, 5, 7, 16])

function isRefusal(error: unknown): boolean {
  for (let at = error, depth = 0; at instanceof Error && depth < 8; depth++, at = at.cause) {
    if (isGrpcServiceError(at)) return refusals.has(at.code)
  }
  return false
}
