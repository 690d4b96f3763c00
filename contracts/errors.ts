/** Error codes and the one error class that carries them. Free of zod, so that workflows can decide with it. */

/**
 * Every code that crosses a process boundary: an HTTP body, a record's `error_code`, or the `type` of a Temporal
 * failure. Codes that a specification names (`OOM_KILLED`) keep that spelling.
 */
export const errorCodes = [
  // the caller's request
  'invalid_input',
  'invalid_header',
  'payload_too_large',
  'unauthorized',
  'not_found',
  'method_not_allowed',
  'model_unknown',
  'model_not_blessed',
  'idempotency_mismatch',
  'already_terminal',
  'input_expired',
  'conflict',
  'queue_full',
  'queue_already_paused',
  'queue_not_paused',
  // this service
  'store_unavailable',
  'temporal_unavailable',
  'draining',
  'not_implemented',
  'internal',
  // one prediction
  'prediction_canceled',
  'prediction_aborted',
  'prediction_timeout',
  'interrupted',
  'attempts_exhausted',
  'task_queue_failed',
  // the platform's answer
  'platform_rejected',
  'platform_credentials',
  'platform_busy',
  'platform_timeout',
  'platform_error',
  'platform_bad_gateway',
  'platform_gateway_timeout',
  'platform_unreachable',
  'platform_connection_lost',
  'platform_bad_answer',
  'platform_answer_too_large',
  'platform_unsupported',
  'platform_job_failed',
  'provider_result_expired',
  'provider_output_missing',
  // infra validation, spelled as its specification spells them
  'CONFIG_INVALID',
  'IMAGE_PULL_FAILED',
  'MODEL_CHANGED',
  'INTERNAL',
  'UNSCHEDULABLE',
  'PLATFORM_UNAVAILABLE',
  'JOB_ABORTED',
  'DEADLINE_EXCEEDED',
  'OOM_KILLED',
  'MODEL_LOAD_FAILED',
  'QUERY_FAILED',
  'GOLDEN_MISMATCH',
  'LATENCY_GATE',
  'MEMORY_GATE',
  'CANCELLED',
  'CLEANUP_FAILED',
  'ALREADY_STARTED',
  'NOT_STARTED',
  'NOT_RUNNING',
] as const
export type ErrorCode = (typeof errorCodes)[number]

/**
 * Whether the same request may be tried again as it is: the platform cannot have begun the work, or says itself
 * that it has not. A timeout or a connection lost after sending is not retryable: the job may run on.
 */
export const retryable = {
  invalid_input: false,
  invalid_header: false,
  payload_too_large: false,
  unauthorized: false,
  not_found: false,
  method_not_allowed: false,
  model_unknown: false,
  model_not_blessed: false,
  idempotency_mismatch: false,
  already_terminal: false,
  input_expired: false,
  conflict: false,
  queue_full: false,
  queue_already_paused: false,
  queue_not_paused: false,
  store_unavailable: true,
  temporal_unavailable: true,
  draining: true,
  not_implemented: false,
  internal: false,
  prediction_canceled: false,
  prediction_aborted: false,
  prediction_timeout: false,
  interrupted: false,
  attempts_exhausted: false,
  task_queue_failed: false,
  platform_rejected: false,
  platform_credentials: false,
  platform_busy: true,
  platform_timeout: false,
  platform_error: false,
  platform_bad_gateway: true,
  platform_gateway_timeout: true,
  platform_unreachable: true,
  platform_connection_lost: false,
  platform_bad_answer: false,
  platform_answer_too_large: false,
  platform_unsupported: false,
  platform_job_failed: false,
  provider_result_expired: false,
  provider_output_missing: false,
  CONFIG_INVALID: false,
  IMAGE_PULL_FAILED: false,
  MODEL_CHANGED: false,
  INTERNAL: false,
  UNSCHEDULABLE: false,
  PLATFORM_UNAVAILABLE: true,
  JOB_ABORTED: false,
  DEADLINE_EXCEEDED: false,
  OOM_KILLED: false,
  MODEL_LOAD_FAILED: false,
  QUERY_FAILED: false,
  GOLDEN_MISMATCH: false,
  LATENCY_GATE: false,
  MEMORY_GATE: false,
  CANCELLED: false,
  CLEANUP_FAILED: false,
  ALREADY_STARTED: false,
  NOT_STARTED: false,
  NOT_RUNNING: false,
} satisfies Record<ErrorCode, boolean>

export interface ServiceErrorDetails {
  cause?: unknown
  /** The platform asked to wait this long (`Retry-After`), in milliseconds. */
  retryAfterMs?: number
  /** HTTP status of the platform's own answer, when there was one. */
  upstreamStatus?: number
  /** The inherited number that prefixes the text: `status 20007: …` (prediction-agent specification, 2.3). */
  legacyCode?: number
}

/** The one error class inside a process. `message` is safe to show: no address, key or payload. */
export class ServiceError extends Error {
  readonly code: ErrorCode
  readonly retryAfterMs?: number
  readonly upstreamStatus?: number
  readonly legacyCode?: number

  constructor(code: ErrorCode, message: string, details: ServiceErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.name = 'ServiceError'
    this.code = code
    if (details.retryAfterMs !== undefined) this.retryAfterMs = details.retryAfterMs
    if (details.upstreamStatus !== undefined) this.upstreamStatus = details.upstreamStatus
    if (details.legacyCode !== undefined) this.legacyCode = details.legacyCode
  }
}

const known: ReadonlySet<string> = new Set(errorCodes)

function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && known.has(value)
}

/**
 * The code of whatever was thrown: the first `code` or `type` on the list, walking `cause`. Works on a
 * `ServiceError`, on a Temporal failure that went through serialisation, and on anything else (`internal`).
 */
export function codeOf(error: unknown): ErrorCode {
  for (let at = error, depth = 0; typeof at === 'object' && at !== null && depth < 16; depth++) {
    const { code, type, cause } = at as { code?: unknown; type?: unknown; cause?: unknown }
    if (isErrorCode(code)) return code
    if (isErrorCode(type)) return type
    at = cause
  }
  return 'internal'
}

/** Text that the inherited wire shows for an error: `status 20007: model not found` where a number is known. */
export function legacyText(error: ServiceError): string {
  return error.legacyCode === undefined ? error.message : `status ${error.legacyCode}: ${error.message}`
}
