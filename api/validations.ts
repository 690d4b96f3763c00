/** What the validation routes ask for: accept, cancel, repeat. Owns the order of workflow and record; the store has the rest. */
import { randomUUID } from 'node:crypto'
import {
  Client,
  Connection,
  ScheduleNotFoundError,
  ScheduleOverlapPolicy,
  type ScheduleSpec,
  type WorkflowHandle,
  WorkflowNotFoundError,
} from '@temporalio/client'
import { durationMs } from '../contracts/durations.ts'
import { ServiceError } from '../contracts/errors.ts'
import { guardQueueOf, validationQueueOf, workflowNames } from '../contracts/names.ts'
import type { ValidationRequest } from '../contracts/validation.ts'
import { type PlatformKind, platformKinds } from '../contracts/validation-serving.ts'
import type { ScheduleView, ValidationSchedule } from '../contracts/validation-wire.ts'
import type { StoredValidation, ValidationStore } from '../records/store.ts'
import type { TemporalApiOptions } from '../runtime/temporal/client.ts'
import { tracedStarts } from '../tracing/temporal.ts'
import type { validation } from '../workflows/validation.ts'

/** What this deployment lets validations use. */
export interface ValidationRules {
  kinds: readonly PlatformKind[]
  /** False: all, because only this machine is to reach the API. */
  named: boolean
}

export interface ValidationService {
  readonly store: ValidationStore
  readonly rules: ValidationRules
  /** As it stands. One that was terminated before any worker saw it is ended first: nobody else can. */
  get(id: string): Promise<StoredValidation | undefined>
  /** Accepts durably. Throws `temporal_unavailable`, `store_unavailable`. */
  submit(spec: ValidationRequest, schedule?: ValidationSchedule): Promise<StoredValidation>
  /** Asks the workflow to end; the jobs are stopped first. Throws `not_found`, `conflict` for one that has ended. */
  cancel(id: string): Promise<StoredValidation>
  /** Makes or replaces the schedule that repeats it. Throws `invalid_input`. */
  repeat(id: string, schedule: ValidationSchedule): Promise<ScheduleView>
  schedule(id: string): Promise<ScheduleView | undefined>
  /** False: there was none. */
  stopRepeating(id: string): Promise<boolean>
  close(): Promise<void>
}

const startDeadlineMs = 10_000

export function makeValidationService(
  store: ValidationStore,
  options: TemporalApiOptions,
  rules: ValidationRules = { kinds: platformKinds, named: false },
): ValidationService {
  const connection = Connection.lazy(options.connection)
  const client = new Client({
    connection,
    namespace: options.namespace,
    interceptors: { workflow: [tracedStarts] },
  })
  const queues = {
    workflows: guardQueueOf(options.taskQueue),
    activities: validationQueueOf(options.taskQueue),
  }

  async function asked<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await connection.withDeadline(Date.now() + startDeadlineMs, call)
    } catch (error) {
      if (error instanceof WorkflowNotFoundError || error instanceof ScheduleNotFoundError) throw error
      throw new ServiceError('temporal_unavailable', 'the workflow service cannot be reached', {
        cause: error,
      })
    }
  }

  async function isOpen(handle: WorkflowHandle): Promise<boolean> {
    try {
      return (await asked(() => handle.describe())).status.name === 'RUNNING'
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return false
      throw error
    }
  }

  async function known(id: string): Promise<StoredValidation> {
    const stored = await store.get(id)
    if (stored === undefined) throw new ServiceError('not_found', 'validation not found')
    return stored
  }

  async function repeat(id: string, wanted: ValidationSchedule): Promise<ScheduleView> {
    const { modelName } = await known(id)
    const spec = specOf(wanted)
    const scheduleId = scheduleIdOf(id)
    const action = {
      type: 'startWorkflow',
      workflowType: workflowNames.validation,
      // Temporal adds the time of the run.
      workflowId: `validation-${randomUUID()}`,
      taskQueue: queues.workflows,
      args: [{ queue: queues.activities, template: id }],
      staticSummary: `validates ${modelName} again`,
    } as const
    await stopRepeating(id)
    await asked(() =>
      client.schedule.create({
        scheduleId,
        spec,
        action,
        policies: { overlap: ScheduleOverlapPolicy.SKIP },
        memo: {
          ...(wanted.every !== undefined && { every: String(wanted.every) }),
          ...(wanted.cron && { cron: wanted.cron }),
        },
      }),
    )
    const made = await schedule(id)
    if (made === undefined) throw new ServiceError('internal', 'the schedule was not made')
    return made
  }

  async function schedule(id: string): Promise<ScheduleView | undefined> {
    try {
      const { memo, info } = await asked(() => client.schedule.getHandle(scheduleIdOf(id)).describe())
      const text = (value: unknown) => (typeof value === 'string' ? value : null)
      return {
        validation: id,
        every: text(memo?.every),
        cron: text(memo?.cron),
        next: info.nextActionTimes.slice(0, 5).map((time) => time.toISOString()),
        recent: info.recentActions.map(({ action }) => action.workflow.workflowId).toReversed(),
      }
    } catch (error) {
      if (error instanceof ScheduleNotFoundError) return undefined
      throw error
    }
  }

  async function stopRepeating(id: string): Promise<boolean> {
    try {
      await asked(() => client.schedule.getHandle(scheduleIdOf(id)).delete())
      return true
    } catch (error) {
      if (error instanceof ScheduleNotFoundError) return false
      throw error
    }
  }

  return {
    store,
    rules,

    async get(id) {
      const stored = await store.get(id)
      if (stored?.status !== 'running' || stored.progress.phase !== 'pending') return stored
      // With Temporal away nobody has terminated anything.
      if (await isOpen(client.workflow.getHandle(id)).catch(() => true)) return stored
      return store.end(id, { verdict: 'ABORTED' })
    },

    async submit(spec, wanted) {
      if (wanted !== undefined) specOf(wanted)
      const id = `validation-${randomUUID()}`
      const { modelName, platform } = spec.servingSpec
      // First the owner, then the record: a record without a workflow would stay open for ever. The workflow of a
      // record that does not come ends by itself.
      const handle = await asked(() =>
        client.workflow.start<typeof validation>(workflowNames.validation, {
          taskQueue: queues.workflows,
          workflowId: id,
          args: [{ queue: queues.activities }],
          workflowIdReusePolicy: 'REJECT_DUPLICATE',
          staticSummary: `validates ${modelName} on ${platform.kind}`,
        }),
      )
      const created = await store
        .create({ id, modelName, spec: JSON.stringify(spec) })
        .catch((error: unknown) =>
          handle.cancel().then(
            () => Promise.reject(error),
            () => Promise.reject(error),
          ),
        )
      if (!created) throw new ServiceError('store_unavailable', 'the validation could not be stored in time')
      if (wanted !== undefined) await repeat(id, wanted)
      return await known(id)
    },

    async cancel(id) {
      const stored = await known(id)
      if (stored.status === 'ended') {
        throw new ServiceError('conflict', `the validation has already ended: ${stored.verdict}`)
      }
      const handle = client.workflow.getHandle(id)
      if (await isOpen(handle)) await asked(() => handle.cancel())
      // An operator has terminated it: no code of the workflow will ever end the record.
      else await store.end(id, { verdict: 'ABORTED' })
      return await known(id)
    },

    repeat,
    schedule,
    stopRepeating,
    close: () => connection.close(),
  }
}

function scheduleIdOf(validationId: string): string {
  return `repeat-${validationId}`
}

function specOf({ every, cron }: ValidationSchedule): ScheduleSpec {
  if (cron !== undefined) return { cronExpressions: [cron] }
  const ms = durationMs(String(every))
  if (ms === undefined || ms < 1000) {
    throw new ServiceError(
      'invalid_input',
      'schedule.every: is no duration such as 24h or 30m, a second at least',
    )
  }
  return { intervals: [{ every: ms }] }
}
