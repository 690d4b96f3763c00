/** Filters of `GET /v1/predictions`: from Replicate's words to the store's. Throws `invalid_input` naming the parameter. */
import { type ErrorCode, errorCodes, ServiceError } from '../contracts/errors.ts'
import { objectWords } from '../contracts/prediction-text.ts'
import { type PredictionStatus, predictionStatuses } from '../contracts/statuses.ts'
import type { ListFilter } from '../records/store.ts'

type Filter = Omit<ListFilter, 'limit' | 'cursor' | 'queue'>

export function filterIn(query: Readonly<Record<string, string>>): Filter {
  const { status, code, model, created_after: after, created_before: before } = query
  return {
    ...(status && { status: statusIn(status) }),
    ...(code && { errorCode: codeIn(code) }),
    ...(model && { modelName: model.replace(/^perdure\//, '') }),
    ...(after && { createdFrom: timeIn('created_after', after) }),
    ...(before && { createdBefore: timeIn('created_before', before) }),
  }
}

/** Everything is made through the API: there is nothing from a web page. */
export function isFromWeb(source: string | undefined): boolean {
  if (source === undefined || source === '' || source === 'api') return false
  if (source === 'web') return true
  throw new ServiceError('invalid_input', 'source must be api or web')
}

function statusIn(word: string): PredictionStatus {
  const status = predictionStatuses.find((stored) => objectWords[stored] === word)
  if (status !== undefined) return status
  throw new ServiceError('invalid_input', `status must be one of ${Object.values(objectWords).join(', ')}`)
}

function codeIn(word: string): ErrorCode {
  const code = errorCodes.find((known) => known === word)
  if (code === undefined) throw new ServiceError('invalid_input', 'code is not one of ours')
  return code
}

/** A date alone is its first moment in UTC. */
function timeIn(name: string, text: string): number {
  // A plus sign that nobody encoded arrives as a blank.
  const ms = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text.replace(' ', '+')) : Number.NaN
  if (Number.isNaN(ms)) throw new ServiceError('invalid_input', `${name} must be a date-time, as in RFC 3339`)
  return ms
}
