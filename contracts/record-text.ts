/** The inherited record on the wire: exactly ten keys, the stored outputs spliced in as they are. */
import type { PredictionStatus } from './statuses.ts'

/** The fields of a stored prediction that the wire shows. */
export interface ShownRecord {
  id: string
  modelName: string
  modelVersion: string
  status: PredictionStatus
  runningTime: string
  errorInfo: string
  createdAt: string
  /** JSON text. */
  outputs: string
  queueNum: number
  queueId: string
}

/** JSON text of a record (prediction-agent specification, 4.3). `outputs` is never parsed: digits stay. */
export function recordText(record: ShownRecord): string {
  return (
    `{"id":${JSON.stringify(record.id)}` +
    `,"model_name":${JSON.stringify(record.modelName)}` +
    `,"model_version":${JSON.stringify(record.modelVersion)}` +
    `,"status":"${record.status}"` +
    `,"running_time":${JSON.stringify(record.runningTime)}` +
    `,"error_info":${JSON.stringify(record.errorInfo)}` +
    `,"created_at":"${record.createdAt}"` +
    `,"outputs":${record.outputs}` +
    `,"queue_num":${record.queueNum}` +
    `,"queue_id":${JSON.stringify(record.queueId)}}`
  )
}
