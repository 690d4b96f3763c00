/** A prediction as a row and as the store shows it. Pure translation; no statements. */
import type { PlatformName } from '../contracts/names.ts'
import type { NewPrediction, StoredPrediction, WebhookOrder } from './store.ts'
import type { PredictionRow } from './tables.ts'

/** The parameters every new row needs. */
export type NewRow = {
  id: string
  modelName: string
  modelVersion: string
  uid: string
  queue: string
  queueId: string
  platform: PlatformName
  /** JSON of a `WebhookOrder`; empty = none. */
  webhook: string
  deadline: number | null
  retryOf: string
  trace: string
  now: number
}

export function rowOf(prediction: NewPrediction, now: number) {
  const { id, modelName, modelVersion, uid, webhook, cancelAfterMs, retryOf = '', trace = '' } = prediction
  return {
    id,
    modelName,
    modelVersion,
    uid,
    webhook: webhook === undefined ? '' : JSON.stringify(webhook),
    deadline: cancelAfterMs === undefined ? null : now + cancelAfterMs,
    retryOf,
    trace,
    now,
  }
}

export function columns(row: NewRow) {
  return {
    id: row.id,
    model_name: row.modelName,
    model_version: row.modelVersion,
    uid: row.uid,
    queue: row.queue,
    queue_id: row.queueId,
    platform: row.platform,
    webhook: row.webhook,
    deadline_at: row.deadline,
    retry_of: row.retryOf,
    trace: row.trace,
    created_at: row.now,
  }
}

export const shownColumns = [
  'seq',
  'id',
  'model_name',
  'model_version',
  'status',
  'running_time',
  'error_info',
  'error_code',
  'created_at',
  'started_at',
  'ended_at',
  'queue_num',
  'queue_id',
  'uid',
  'platform',
  'attempts',
  'deadline_at',
  'retry_of',
  'webhook',
] as const satisfies readonly (keyof PredictionRow)[]

/** The columns of `prediction_outputs` beside them, null where it has no row. */
export const shownOutputs = ['outputs', 'partial', 'logs'] as const

type Shown = Pick<PredictionRow, (typeof shownColumns)[number]> & {
  [column in (typeof shownOutputs)[number]]: string | null
}

export function storedFrom(row: Shown): StoredPrediction {
  return {
    seq: row.seq,
    id: row.id,
    modelName: row.model_name,
    modelVersion: row.model_version,
    status: row.status,
    runningTime: row.running_time,
    errorInfo: row.error_info,
    errorCode: row.error_code,
    createdAt: isoTime(row.created_at),
    startedAt: row.started_at === null ? null : isoTime(row.started_at),
    endedAt: row.ended_at === null ? null : isoTime(row.ended_at),
    outputs: row.outputs ?? 'null',
    queueNum: row.queue_num,
    queueId: row.queue_id,
    uid: row.uid,
    platform: row.platform,
    attempts: row.attempts,
    partial: row.partial ?? 'null',
    logs: row.logs ?? '',
    deadlineAt: row.deadline_at === null ? null : isoTime(row.deadline_at),
    retryOf: row.retry_of,
    ...(row.webhook !== '' && { webhook: JSON.parse(row.webhook) as WebhookOrder }),
  }
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString()
}
