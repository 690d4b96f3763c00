/** The errors the server itself raises, and how each error reads and counts in either error form (4.2 and 4.5). */

import {
  errorClass,
  errorMessage,
  errorStatus,
  errorText,
  HttpError,
  InferenceError,
  InvalidInput,
  NotImplementedError,
  RuntimeError,
  TypeMismatchError,
  ValueError,
} from './errors.ts'
import { errorReply, type Reply, textReply } from './reply.ts'

/** No model is registered under this key, or it is unloaded. */
export class ModelMissing extends ValueError {
  readonly key: string
  constructor(key: string, available: readonly string[], more = '') {
    super(`model ${key} doesnt exist, available models: ${available.join(' | ')}${more}`)
    this.key = key
  }
}

export class ModelNotReady extends RuntimeError {
  readonly model: string
  constructor(model: string, state = 'yet') {
    super(`model ${model} is not ready ${state}`)
    this.model = model
  }
}

export class IllegalOperation extends ValueError {
  constructor(op: string, method: string) {
    super(`illegal model operation ${op}, method=${method}`)
  }
}

export class IllegalPath extends ValueError {
  constructor(path: string, prefix: string) {
    super(`illegal path prefix ${path}, must start with ${prefix}`)
  }
}

/** The body is no JSON object (3.3). */
export class UnrecognizedFormat extends ValueError {
  constructor(reason: string) {
    super('Unrecognized request format', { cause: reason })
  }
}

/** The content type says JSON and the body is none (3.2). */
export class UndecodableJson extends Error {
  override name = 'UndecodableJson'
}

export class MethodNotAllowed extends HttpError {
  readonly allow: string
  constructor(allow: string) {
    super(405, 'Method Not Allowed')
    this.allow = allow
  }
}

/** `oip` and V1 answer 501 for a hook the model did not write; the text form shows the base error itself. */
export function namedUnwritten(error: unknown, hook: string, model: string): unknown {
  if (!(error instanceof NotImplementedError) || error.message !== '') return error
  return new HttpError(501, `${hook} is not implemented for model ${model}`)
}

/** Which of the two error forms an answer takes. */
export type ErrorForm = 'text' | 'json'

/** Seconds after which a model that is loading may be asked again. */
const loadingRetryS = '1'

/** The reply for whatever was thrown, in protocol `v2`'s text form or in the JSON form of `oip`, V1 and generate. */
export function faultReply(error: unknown, form: ErrorForm, verbose = false): Reply {
  const headers = faultHeaders(error)
  return form === 'text'
    ? textReply(bodyText(error, verbose), errorStatus(error) ?? 400, headers)
    : errorReply(jsonMessage(error), faultStatus(error, form), headers)
}

/** The body of 4.2 for an error: also what the error stream carries. */
export function bodyText(error: unknown, verbose = false): string {
  if (error instanceof UndecodableJson) return `failed to json decode event, ${error.message}`
  return errorText(error, verbose)
}

export function faultStatus(error: unknown, form: ErrorForm): number {
  const own = errorStatus(error)
  if (own !== undefined) return own
  if (form === 'text') return 400
  if (error instanceof ModelMissing || error instanceof IllegalOperation || error instanceof IllegalPath)
    return 404
  if (error instanceof ModelNotReady) return 503
  if (isCallersFault(error)) return 400
  return 500
}

/** The text of `{"error"}`: an answer's, or that of a stream's last piece. */
export function jsonMessage(error: unknown): string {
  if (error instanceof ModelMissing) return `Model with name ${error.key} does not exist.`
  if (error instanceof ModelNotReady) return `Model with name ${error.model} is not ready.`
  if (error instanceof IllegalOperation || error instanceof IllegalPath) return 'Not Found'
  if (error instanceof UndecodableJson) return `Unrecognized request format: ${error.message}`
  if (isCallersFault(error) || error instanceof InferenceError || error instanceof HttpError)
    return errorMessage(error)
  return `${errorClass(error)}: ${errorMessage(error)}`
}

/** Errors of requests that reached no model, so that no model counts them. */
export function isBeforeModel(error: unknown): boolean {
  return (
    error instanceof ModelMissing ||
    error instanceof IllegalPath ||
    error instanceof UnrecognizedFormat ||
    error instanceof UndecodableJson
  )
}

function isCallersFault(error: unknown): boolean {
  return (
    error instanceof InvalidInput ||
    error instanceof UnrecognizedFormat ||
    error instanceof UndecodableJson ||
    error instanceof TypeMismatchError
  )
}

function faultHeaders(error: unknown): Record<string, string> | undefined {
  if (error instanceof MethodNotAllowed) return { allow: error.allow }
  if (error instanceof ModelNotReady) return { 'retry-after': loadingRetryS }
  if (error instanceof HttpError && error.retryAfterS !== undefined) {
    return { 'retry-after': String(error.retryAfterS) }
  }
  return undefined
}
