/** The workers of validations: activities that any worker may run, and those of the runners on this host. */
import { Client, WorkflowNotFoundError } from '@temporalio/client'
import { type NativeConnection, Worker, type WorkerOptions } from '@temporalio/worker'
import { withFinalFailures } from '../activities/failure.ts'
import { makeHeldJobs } from '../activities/held-jobs.ts'
import { makeReaperActivities, makeRunnerActivities } from '../activities/runner.ts'
import { makeValidationActivities, type ValidationDeps } from '../activities/validation.ts'
import { ServiceError } from '../contracts/errors.ts'
import { guardQueueOf, runnerQueueOf, validationQueueOf, workflowNames } from '../contracts/names.ts'
import type { ReaperInput } from '../contracts/validations.ts'
import type { Store } from '../records/store.ts'
import type { IsOver, Runners } from '../runners/index.ts'
import { tracedActivities } from '../tracing/temporal.ts'

export interface ValidationSettings {
  runners: Runners
  /** Names this host; jobs that are bound to one come back to it. */
  host: string
  /** For `valueFrom.secret`. */
  secret(name: string): string | undefined
  /** How long a step waits for a worker on its host; absent = 60 s. */
  hostWaitMs?: number
  /** Removes jobs that have expired or are over, on every platform of this worker; how many. */
  sweep(now: Date, isOver: IsOver): Promise<number>
}

export interface ValidationWorkerOptions {
  namespace: string
  taskQueue: string
  store: Pick<Store, 'validations'>
  validation: ValidationSettings
  /** Fires when the process is to stop. */
  draining: AbortSignal
  warn(text: string): void
  onVerdict?: ValidationDeps['onVerdict']
}

export interface ValidationWorkers {
  workers: Worker[]
  /** Once draining: the jobs of this host are stopped. Never rejects. */
  drained(): Promise<void>
}

const activitiesAtOnce = 100
/** Above any stop grace in use; a stop that runs is not interrupted. */
const shutdownGrace = '60s'
const stopAllWithinMs = 50_000
/** How late a cancellation is heard: it comes with the answer to a heartbeat. */
const heartbeatEvery = '1s'

export async function createValidationWorkers(
  connection: NativeConnection,
  options: ValidationWorkerOptions,
): Promise<ValidationWorkers> {
  const { namespace, taskQueue, store, validation, draining, warn } = options
  const { runners, host, hostWaitMs, secret } = validation
  const runnerQueue = runnerQueueOf(host, taskQueue)
  const { validations } = store
  const sweep = () =>
    validation.sweep(new Date(), async (id) => (await validations.get(id))?.status === 'ended')
  const client = new Client({ connection, namespace })
  const held = makeHeldJobs(runners)
  const leaving = new AbortController()
  const stopped = Promise.withResolvers<void>()
  const leave = () => {
    leaving.abort(
      new ServiceError('PLATFORM_UNAVAILABLE', 'the worker of this job leaves and takes it along'),
    )
    held.stopAll(stopAllWithinMs).then(
      (left) => {
        if (left.length > 0)
          warn(`jobs that could not be stopped: ${left.join(', ')}; their validations go on trying`)
        stopped.resolve()
      },
      () => stopped.resolve(),
    )
  }
  if (draining.aborted) leave()
  draining.addEventListener('abort', leave, { once: true })

  const shared = {
    connection,
    namespace,
    maxConcurrentActivityTaskExecutions: activitiesAtOnce,
    maxHeartbeatThrottleInterval: heartbeatEvery,
    interceptors: { activity: [tracedActivities] },
  } satisfies Partial<WorkerOptions>
  const runnerDeps = { validations, runners, secret, held, host }
  const anywhere = await Worker.create({
    ...shared,
    taskQueue: validationQueueOf(taskQueue),
    activities: withFinalFailures({
      ...makeValidationActivities({
        validations,
        host,
        runnerQueue,
        statusOf: (id) => statusOf(client, id),
        ...(options.onVerdict && { onVerdict: options.onVerdict }),
        ...(hostWaitMs !== undefined && { hostWaitMs }),
      }),
      // Jobs of a shared platform outlive this worker: the next one goes on with them.
      ...makeRunnerActivities({
        ...runnerDeps,
        queue: validationQueueOf(taskQueue),
        leaving: new AbortController().signal,
      }),
    }),
    shutdownGraceTime: 0,
  })
  const here = await Worker.create({
    ...shared,
    taskQueue: runnerQueue,
    activities: withFinalFailures({
      ...makeRunnerActivities({ ...runnerDeps, queue: runnerQueue, leaving: leaving.signal }),
      ...makeReaperActivities(sweep),
    }),
    shutdownGraceTime: shutdownGrace,
  })
  await startReaper(client, taskQueue, { queue: runnerQueue }, warn)
  sweep().catch(() => warn('leftovers of earlier workers could not be looked for; the reaper looks again'))
  return { workers: [anywhere, here], drained: () => stopped.promise }
}

async function statusOf(client: Client, workflowId: string): Promise<string | undefined> {
  try {
    return (await client.workflow.getHandle(workflowId).describe()).status.name
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return undefined
    throw error
  }
}

async function startReaper(
  client: Client,
  taskQueue: string,
  input: ReaperInput,
  warn: (text: string) => void,
): Promise<void> {
  try {
    await client.workflow.start(workflowNames.reaper, {
      taskQueue: guardQueueOf(taskQueue),
      workflowId: `reaper-${input.queue}`,
      args: [input],
      workflowIdReusePolicy: 'ALLOW_DUPLICATE',
      workflowIdConflictPolicy: 'USE_EXISTING',
      staticSummary: `removes leftover jobs on ${input.queue}`,
    })
  } catch {
    warn('the reaper of leftover jobs could not be started; the next start of a worker tries again')
  }
}
