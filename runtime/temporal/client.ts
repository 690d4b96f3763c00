/** What Perdure's processes ask of Temporal: start workflows, wake flights, say what runs and whether it answers. */
import { createHash } from 'node:crypto'
import {
  Client,
  Connection,
  type ConnectionOptions,
  isGrpcServiceError,
  type WorkflowExecutionDescription,
  WorkflowNotFoundError,
} from '@temporalio/client'
import { defineSearchAttributeKey, type SearchAttributePair, SearchAttributeType } from '@temporalio/common'
import type { DeliveryInput } from '../../contracts/deliveries.ts'
import { ServiceError } from '../../contracts/errors.ts'
import { type FlightStart, flightInputOf, searchAttributes } from '../../contracts/flights.ts'
import {
  deliveryIdOf,
  deliveryQueueOf,
  flightIdOf,
  guardIdOf,
  guardQueueOf,
  keeperIdOf,
  validationQueueOf,
  wakeIdOf,
  wakeSignal,
  workflowNames,
  workflowTaskTimeoutMs,
} from '../../contracts/names.ts'
import type { QueueBacklog } from '../../metrics.ts'
import { tracedStarts } from '../../tracing/temporal.ts'
import type { delivery } from '../../workflows/delivery.ts'
import type { flight } from '../../workflows/flight.ts'
import type { guard } from '../../workflows/guard.ts'
import type { keeper } from '../../workflows/keeper.ts'
import type { wake } from '../../workflows/wake.ts'
import { queueBacklogs } from './task-queues.ts'

/** `refused`: Temporal takes no start of this kind, and asking again will not change it. */
export type StartAnswer = 'started' | 'refused'

export interface TemporalApi {
  /** One try. Anyone may repeat it: a flight that runs is left alone. Throws `temporal_unavailable`. */
  startFlight(start: FlightStart, deadlineMs: number): Promise<StartAnswer>
  startGuard(processId: string): Promise<void>
  /** Repeatable: a delivery that is under way is left alone. */
  startDelivery(input: Omit<DeliveryInput, 'queue'>): Promise<void>
  /** Of a validation whose workflow is closed: stops its jobs and ends its record. `runId`: its first run, its last one. */
  startKeeper(validationId: string, runs: { first: string; last: string }): Promise<void>
  /** One that has ended, or is not started yet, needs no waking. Throws `temporal_unavailable`. */
  wakeFlight(prefix: string): Promise<void>
  wakeFlights(prefixes: readonly string[]): Promise<void>
  /** Wakes all that wait in the queue now, also while it is at it already. Throws `temporal_unavailable`. */
  wakeQueue(queue: string): Promise<void>
  /** The latest run; undefined: Temporal knows of none. Throws `temporal_unavailable`. */
  stateOf(workflowId: string): Promise<WorkflowState | undefined>
  /** Ids of what runs on the queues of this deployment, as Temporal lists it: the list may lag behind. */
  running(): Promise<Set<string>>
  /** Throws `temporal_unavailable`. */
  ping(deadlineMs: number): Promise<void>
  /** For metrics; rejects when Temporal is away. */
  backlogs(): Promise<QueueBacklog[]>
  close(): Promise<void>
}

export interface WorkflowState {
  /** Temporal's word: RUNNING, TERMINATED, … */
  status: string
  firstRunId: string
  lastRunId: string
  /** False: it belongs to another deployment of the same namespace. */
  ours: boolean
}

/** A connection of a process of its own (`Connection`), or that of its workers (`NativeConnection`). */
export type TemporalConnection = Pick<
  Connection,
  'workflowService' | 'operatorService' | 'withDeadline' | 'ensureConnected' | 'close'
> &
  Required<Pick<Client['connection'], 'plugins' | 'withMetadata' | 'withAbortSignal'>>

export interface TemporalNames {
  namespace: string
  taskQueue: string
}

export interface TemporalApiOptions extends TemporalNames {
  connection: ConnectionOptions
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
/** A summary names the first models only: it is a line in a list, and Temporal refuses one above 400 bytes. */
const namedModels = 3
const namedLength = 24
/** Bytes; Temporal refuses a longer one. */
const longestFairnessKey = 64
/** Temporal refuses a value above 2,048 bytes of JSON; what is cut off is still in the records. */
const longestAttributeBytes = 1_500
const connectTimeoutMs = 5_000
const registeredAgainMs = 60_000
const askWithinMs = 10_000
/** Of one page of a list. */
const listed = 1_000
const wokenAtOnce = 20

/** Opens no connection before it is used. */
export function openTemporalApi({ connection, ...names }: TemporalApiOptions): TemporalApi {
  return makeTemporalApi(Connection.lazy({ connectTimeout: connectTimeoutMs, ...connection }), names)
}

export function makeTemporalApi(connection: TemporalConnection, options: TemporalNames): TemporalApi {
  const { namespace, taskQueue } = options
  const client = new Client({ connection, namespace, interceptors: { workflow: [tracedStarts] } })
  const ours = [taskQueue, guardQueueOf(taskQueue)]
  let registered: Promise<boolean> | undefined

  function stateIn({ status, runId, raw, taskQueue: its }: WorkflowExecutionDescription): WorkflowState {
    const firstRunId = raw.workflowExecutionInfo?.firstRunId || runId
    return { status: status.name, firstRunId, lastRunId: runId, ours: ours.includes(its) }
  }

  async function attributesOf(start: FlightStart): Promise<SearchAttributePair[]> {
    registered ??= areRegistered()
    if (!(await registered)) return []
    return [
      { key: modelName, value: fitting(start.models) },
      { key: platform, value: [start.platform] },
      { key: flightSize, value: start.ids.length },
    ]
  }

  /** A start with unknown attributes is refused, so they are left out where nobody registered them or may ask. */
  async function areRegistered(): Promise<boolean> {
    try {
      const answer = await connection.operatorService.listSearchAttributes({ namespace })
      const known = answer.customAttributes ?? {}
      const are = Object.values(names).every((name) => name in known)
      // A worker may register them later; once they are there they stay.
      if (!are) askAgainLater()
      return are
    } catch (error) {
      if (!hasCode(error, [permissionDenied, unimplemented])) {
        registered = undefined
        throw error
      }
      askAgainLater()
      return false
    }
  }

  function askAgainLater(): void {
    setTimeout(() => {
      registered = undefined
    }, registeredAgainMs).unref()
  }

  async function startOnce(start: FlightStart, typedSearchAttributes: SearchAttributePair[]): Promise<void> {
    const { priority: priorityKey, fairnessKey } = start
    await client.workflow.start<typeof flight>(workflowNames.flight, {
      taskQueue,
      workflowId: flightIdOf(start.prefix),
      args: [flightInputOf(start)],
      ...repeatable,
      typedSearchAttributes,
      staticSummary: summaryOf(start),
      priority: {
        ...(priorityKey && { priorityKey }),
        ...(fairnessKey && { fairnessKey: shortened(fairnessKey) }),
      },
    })
  }

  /** Attributes only help to find a flight: one that Temporal refuses with them starts without. */
  async function startAnyhow(start: FlightStart): Promise<StartAnswer> {
    for (const attributes of [await attributesOf(start), []]) {
      try {
        await startOnce(start, attributes)
        return 'started'
      } catch (error) {
        if (!hasCode(error, [invalidArgument])) throw error
      }
    }
    return 'refused'
  }

  async function wakeFlight(prefix: string): Promise<void> {
    try {
      await client.workflow.getHandle(flightIdOf(prefix)).signal(wakeSignal)
    } catch (error) {
      if (!(error instanceof WorkflowNotFoundError)) throw unavailable(error)
    }
  }

  return {
    startFlight: (start, deadlineMs) =>
      translated(() => connection.withDeadline(Date.now() + deadlineMs, () => startAnyhow(start))),
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
    async startKeeper(id, { first, last }) {
      await translated(() =>
        client.workflow.start<typeof keeper>(workflowNames.keeper, {
          taskQueue: guardQueueOf(taskQueue),
          workflowId: keeperIdOf(id, last),
          args: [{ id, runId: first, queue: validationQueueOf(taskQueue), closed: true }],
          ...repeatable,
          staticSummary: `ends ${id}, which lost its workflows`,
        }),
      )
    },
    wakeFlight,
    async wakeFlights(prefixes) {
      const next = prefixes.values()
      const wakeSome = async () => {
        for (const prefix of next) await wakeFlight(prefix)
      }
      await Promise.all(Array.from({ length: wokenAtOnce }, wakeSome))
    },
    async wakeQueue(queue) {
      await translated(() =>
        client.workflow.signalWithStart<typeof wake>(workflowNames.wake, {
          taskQueue: guardQueueOf(taskQueue),
          workflowId: wakeIdOf(queue),
          args: [queue],
          signal: wakeSignal,
          workflowTaskTimeout: workflowTaskTimeoutMs,
          staticSummary: 'wakes what waited in the paused queue',
        }),
      )
    },
    stateOf: (workflowId) =>
      translated(() =>
        connection.withDeadline(Date.now() + askWithinMs, async () => {
          try {
            return stateIn(await client.workflow.getHandle(workflowId).describe())
          } catch (error) {
            if (error instanceof WorkflowNotFoundError) return undefined
            throw error
          }
        }),
      ),
    async running() {
      const query = `ExecutionStatus = 'Running' AND TaskQueue IN (${ours.map(quoted).join()})`
      const ids = new Set<string>()
      await translated(async () => {
        for await (const { workflowId } of client.workflow.list({ query, pageSize: listed }))
          ids.add(workflowId)
      })
      return ids
    },
    async ping(deadlineMs) {
      await translated(() =>
        connection.withDeadline(Date.now() + deadlineMs, () =>
          connection.workflowService.describeNamespace({ namespace }),
        ),
      )
    },
    backlogs: () => queueBacklogs(connection, options),
    close: () => connection.close(),
  }
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}

/** The first of these names that fit into a search attribute, whole. */
function fitting(models: readonly string[]): string[] {
  let bytes = '[]'.length
  return models.filter((name) => {
    bytes += Buffer.byteLength(JSON.stringify(name)) + ','.length
    return bytes <= longestAttributeBytes
  })
}

function summaryOf({ ids, models, platform }: FlightStart): string {
  const named = models.slice(0, namedModels).map((name) => name.slice(0, namedLength))
  const more = models.length > namedModels ? ', …' : ''
  return `${ids.length} × ${named.join(', ')}${more} on ${platform}`
}

/** Keys that differ stay different. */
function shortened(fairnessKey: string): string {
  if (Buffer.byteLength(fairnessKey) <= longestFairnessKey) return fairnessKey
  return createHash('sha256').update(fairnessKey).digest('base64url')
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

/** gRPC's INVALID_ARGUMENT: the request itself is at fault. Anything else may pass, credentials and namespaces too. */
const invalidArgument = 3
const permissionDenied = 7
const unimplemented = 12

function hasCode(error: unknown, codes: readonly number[]): boolean {
  for (let at = error, depth = 0; at instanceof Error && depth < 8; depth++, at = at.cause) {
    if (isGrpcServiceError(at)) return codes.includes(at.code)
  }
  return false
}
