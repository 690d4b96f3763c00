/** The inherited record on the wire: exactly ten keys, the stored outputs spliced in as they are. */
import type { StoredPrediction } from '../records/store.ts'

/** JSON text of a record (prediction-agent specification, 4.3). `outputs` is never parsed: digits stay. */
export function recordText(record: StoredPrediction): string {
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

const jsonHeaders = { 'content-type': 'application/json; charset=utf-8' }

/** A 2xx answer whose body is JSON text already. */
export function jsonText(text: string, status = 200): Response {
  return new Response(text, { status, headers: jsonHeaders })
}

export function json(body: unknown, status = 200): Response {
  return jsonText(JSON.stringify(body), status)
}
