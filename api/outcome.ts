/** What a caller that waited gets: the record, or the status of its failure (prediction-agent specification, 2.3). */
import { type ErrorCode, errorCodes, ServiceError } from '../contracts/errors.ts'
import { recordText } from '../contracts/record-text.ts'
import type { StoredPrediction } from '../records/store.ts'
import { httpStatus } from './errors.ts'
import { json, jsonText } from './record.ts'

const codes: ReadonlySet<string> = new Set(errorCodes)

function codeOfRecord(record: StoredPrediction): ErrorCode {
  if (record.status === 'canceled') {
    return record.errorCode === 'prediction_aborted' ? 'prediction_aborted' : 'prediction_canceled'
  }
  return codes.has(record.errorCode) ? (record.errorCode as ErrorCode) : 'internal'
}

/** Why a record that has ended did not succeed, as its caller is told; `legacyText` is the record's own text. */
export function errorOfRecord(record: StoredPrediction): ServiceError {
  return new ServiceError(codeOfRecord(record), messageOf(record))
}

function messageOf({ status, errorInfo }: StoredPrediction): string {
  return status === 'canceled' ? 'prediction was canceled' : errorInfo
}

/** 200 succeeded, 202 not terminal yet, else the code of the failure; the id is always in the body. */
export function outcomeResponse(record: StoredPrediction): Response {
  switch (record.status) {
    case 'succeeded':
      return jsonText(recordText(record))
    case 'pending':
    case 'running':
      return jsonText(recordText(record), 202)
    default: {
      const code = codeOfRecord(record)
      const status = httpStatus[code]
      const response = json({ error: messageOf(record), code, id: record.id }, status)
      if (status === 503) response.headers.set('retry-after', '1')
      return response
    }
  }
}
