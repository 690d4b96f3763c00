/** The one place where an error becomes an HTTP answer: status, body and headers. Every error has a JSON body. */
import { STATUS_CODES } from 'node:http'
import { codeOf, type ErrorCode, legacyText, ServiceError } from '../contracts/errors.ts'
import type { Logger } from '../logging.ts'

/** prediction-agent specification, 2.2 and 2.3. */
export const httpStatus = {
  invalid_input: 400,
  invalid_header: 422,
  payload_too_large: 413,
  unauthorized: 401,
  not_found: 404,
  method_not_allowed: 405,
  model_unknown: 404,
  model_not_blessed: 403,
  idempotency_mismatch: 422,
  already_terminal: 403,
  input_expired: 410,
  conflict: 409,
  queue_full: 429,
  queue_already_paused: 403,
  queue_not_paused: 403,
  store_unavailable: 503,
  temporal_unavailable: 503,
  draining: 503,
  not_implemented: 501,
  internal: 500,
  prediction_canceled: 409,
  prediction_aborted: 504,
  prediction_timeout: 504,
  interrupted: 503,
  attempts_exhausted: 500,
  task_queue_failed: 503,
  platform_rejected: 400,
  platform_credentials: 502,
  platform_busy: 503,
  platform_timeout: 504,
  platform_error: 502,
  platform_bad_gateway: 502,
  platform_gateway_timeout: 504,
  platform_unreachable: 502,
  platform_connection_lost: 502,
  platform_bad_answer: 502,
  platform_answer_too_large: 502,
  platform_unsupported: 501,
  platform_job_failed: 500,
  provider_result_expired: 502,
  provider_output_missing: 502,
  CONFIG_INVALID: 400,
  IMAGE_PULL_FAILED: 502,
  MODEL_CHANGED: 409,
  INTERNAL: 500,
  UNSCHEDULABLE: 503,
  PLATFORM_UNAVAILABLE: 503,
  JOB_ABORTED: 500,
  DEADLINE_EXCEEDED: 504,
  OOM_KILLED: 500,
  MODEL_LOAD_FAILED: 500,
  QUERY_FAILED: 500,
  GOLDEN_MISMATCH: 500,
  LATENCY_GATE: 500,
  MEMORY_GATE: 500,
  CANCELLED: 409,
  CLEANUP_FAILED: 500,
  ALREADY_STARTED: 409,
  NOT_STARTED: 409,
  NOT_RUNNING: 409,
} satisfies Record<ErrorCode, number>

/** Milliseconds to wait where an error names none. */
const standardRetryAfterMs = 1_000

/** Which body an error gets: `{"error"}` on inherited routes, problem+json (RFC 9457) on modern ones. */
export type Surface = 'inherited' | 'modern'

/** Further members of the body and further headers, such as `id` or `Allow`. */
export interface ErrorExtras {
  members?: Readonly<Record<string, unknown>>
  headers?: Readonly<Record<string, string>>
}

/** The answer for whatever was thrown. What no `ServiceError` explains is logged and shown as `internal error`. */
export function errorResponse(
  error: unknown,
  surface: Surface,
  log: Logger,
  extras: ErrorExtras = {},
): Response {
  const known = error instanceof ServiceError ? error : unexpected(error, log)
  const status = httpStatus[known.code]
  const headers: Record<string, string> = {
    'content-type': surface === 'modern' ? 'application/problem+json' : 'application/json; charset=utf-8',
    ...extras.headers,
  }
  if (status === 429 || status === 503) {
    headers['retry-after'] = String(Math.ceil((known.retryAfterMs ?? standardRetryAfterMs) / 1000))
  }
  const body =
    surface === 'modern'
      ? {
          type: 'about:blank',
          title: STATUS_CODES[status],
          status,
          detail: known.message,
          code: known.code,
        }
      : { error: legacyText(known), code: known.code }
  return new Response(JSON.stringify({ ...body, ...extras.members }), { status, headers })
}

function unexpected(error: unknown, log: Logger): ServiceError {
  const code = codeOf(error)
  if (code === 'internal') log.error({ error }, 'unexpected error')
  // The text of a foreign error may name addresses; its code is enough.
  return new ServiceError(code, code === 'internal' ? 'internal error' : code.replaceAll('_', ' '))
}
