/** Records as callers of the record service make and change them (prediction-agent specification, 4.1 and 4.4). */
import { isTerminal, type PredictionStatus } from '../contracts/statuses.ts'
import type { Jobs } from './jobs.ts'
import type { makeListing } from './listing.ts'
import type { Outbox } from './outbox.ts'
import { columns, type NewRow } from './rows.ts'
import type { Dialect, Operation } from './statement.ts'
import type { NewTask, StoredPrediction, TaskChange } from './store.ts'

/** Of no queue of ours: neither counted, paused nor deleted with it. */
const noQueue = ''
/** The column wants one; nothing of ours ever calls for such a record. */
const noPlatform = 'v2'

export function makeTasks(
  dialect: Dialect,
  outbox: Outbox,
  jobs: Jobs,
  listing: ReturnType<typeof makeListing>,
) {
  const insert = dialect.prepare((db, p: NewRow & { status: PredictionStatus; queueNum: number }) =>
    db
      .insertInto('predictions')
      .values({ ...columns(p), status: p.status, queue_num: p.queueNum })
      .onConflict((conflict) => conflict.doNothing())
      .returning('id'),
  )
  const start = dialect.prepare((db, p: { id: string; now: number }) =>
    db
      .updateTable('predictions')
      .set({ started_at: p.now })
      .where('id', '=', p.id)
      .where('started_at', 'is', null),
  )
  const find = dialect.prepare((db, p: { id: string }) =>
    dialect.locking(
      db
        .selectFrom('predictions')
        .select(['id', 'model_name', 'status', 'running_time', 'error_info', 'queue_id', 'queue', 'webhook'])
        .where('id', '=', p.id),
    ),
  )
  const update = dialect.prepare(
    (db, p: { id: string; status: PredictionStatus; runningTime: string; errorInfo: string }) =>
      db
        .updateTable('predictions')
        .set({ status: p.status, running_time: p.runningTime, error_info: p.errorInfo })
        .where('id', '=', p.id),
  )
  const end = dialect.prepare((db, p: { id: string; now: number }) =>
    db
      .updateTable('predictions')
      .set({ ended_at: p.now, holder: null, retry_at: null })
      .where('id', '=', p.id),
  )
  const setQueueId = dialect.prepare((db, p: { id: string; queueId: string }) =>
    db.updateTable('predictions').set({ queue_id: p.queueId }).where('id', '=', p.id),
  )
  const setOutputs = dialect.prepare((db, p: { id: string; outputs: string }) =>
    db
      .insertInto('prediction_outputs')
      .values({ id: p.id, outputs: p.outputs })
      .onConflict((conflict) => conflict.column('id').doUpdateSet({ outputs: p.outputs })),
  )

  return {
    *create(task: NewTask, now: number): Operation<'created' | 'exists' | 'conflict'> {
      const { id, modelName, modelVersion, uid, status, queueNum } = task
      const row = {
        id,
        modelName,
        modelVersion,
        uid,
        queue: noQueue,
        queueId: '',
        platform: noPlatform,
        webhook: '',
        deadline: null,
        retryOf: '',
        trace: '',
        now,
      } as const
      if ((yield* insert({ ...row, status, queueNum })).length > 0) {
        if (status === 'running') yield* start({ id, now })
        return 'created'
      }
      const [there] = yield* find({ id })
      return there?.model_name === modelName ? 'exists' : 'conflict'
    },

    *update(id: string, change: TaskChange, now: number): Operation<StoredPrediction | undefined> {
      const [row] = yield* find({ id })
      if (row === undefined) return undefined
      const status = change.status ?? row.status
      const fillsQueue = change.queueId !== undefined && row.queue_id === ''
      if (fillsQueue) yield* setQueueId({ id, queueId: change.queueId ?? '' })
      const allowed = !isTerminal(row.status) && !(row.status === 'running' && status === 'pending')
      if (allowed) {
        const runningTime = change.runningTime ?? row.running_time
        yield* update({ id, status, runningTime, errorInfo: change.errorInfo ?? row.error_info })
        if (change.outputs !== undefined) yield* setOutputs({ id, outputs: change.outputs })
        if (status === 'running') yield* start({ id, now })
        if (isTerminal(status)) {
          yield* end({ id, now })
          // Ended from outside while a provider may still be at work on it.
          if (status !== 'succeeded') yield* jobs.cancelDue([id])
        }
      }
      // Only what a flight or a direct call of ours is at work on has somebody who sends what the outbox holds.
      if (allowed && row.queue !== noQueue) {
        yield* outbox.changed([id], now)
        if (isTerminal(status)) yield* outbox.happened('completed', [row], now)
      }
      return yield* listing.get(id)
    },
  }
}
