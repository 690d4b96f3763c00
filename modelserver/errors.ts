/**
 * The error classes a model may throw and the one text form they take on the wire (specification, 4.2).
 * Decides no status for a protocol beyond the status an error carries itself.
 */

/** Wrong value: the class models use for a request they cannot serve. */
export class ValueError extends Error {
  override name = 'ValueError'
}

/** Wrong kind of value, e.g. `inputPath` on a list body. Named as the reference names it. */
export class TypeMismatchError extends Error {
  override name = 'TypeError'
}

/** The server or a model is in a state in which it cannot answer. */
export class RuntimeError extends Error {
  override name = 'RuntimeError'
}

/** The reference's unspecific error; the two `inputs` checks throw it. */
export class Exception extends Error {
  override name = 'Exception'
}

/** A hook the model did not write. `oip` and V1 answer 501. */
export class NotImplementedError extends Error {
  override name = 'NotImplementedError'
}

/** Arguments the server was built or called with that it refuses. */
export class MLRunInvalidArgumentError extends Error {
  override name = 'MLRunInvalidArgumentError'
}

/** The caller's tensors or instances are wrong: `oip` and V1 answer 400 with the plain message. */
export class InvalidInput extends Error {
  override name = 'InvalidInput'
}

/** The model failed on good input: `oip` and V1 answer 500 with the plain message. */
export class InferenceError extends Error {
  override name = 'InferenceError'
}

/** An error that knows its HTTP status, kept by every protocol; with `retryAfterS` it carries `Retry-After` (seconds). */
export class HttpError extends Error {
  override name = 'HttpError'
  readonly status: number
  readonly retryAfterS?: number
  constructor(status: number, message?: string, options: ErrorOptions & { retryAfterS?: number } = {}) {
    super(message, options)
    this.status = status
    if (options.retryAfterS !== undefined) this.retryAfterS = options.retryAfterS
  }
}

/** The model has no room or no time for the request: 429 (queue full) unless another status is given (503). */
export class OverloadedError extends HttpError {
  override name = 'OverloadedError'
  constructor(message?: string, options: ErrorOptions & { status?: number; retryAfterS?: number } = {}) {
    super(options.status ?? 429, message, options)
  }
}

/** The model took longer than `timeoutMs`: 504. Also the reason that the request's signal aborts with. */
export class TimeLimitError extends HttpError {
  override name = 'TimeoutError'
}

const longestMessage = 32_000
const keptEnd = 16_000
const deepestCause = 16

/** The class an answer names: `error.name`, or the constructor's name when that is plain `Error`. */
export function errorClass(error: unknown): string {
  if (!(error instanceof Error)) return 'Error'
  return error.name === 'Error' ? error.constructor.name || 'Error' : error.name
}

/** The message with its causes, cut in the middle above 32,000 characters. An empty message reads `<Class>()`. */
export function errorMessage(error: unknown): string {
  let text = ownMessage(error)
  let cause = error instanceof Error ? error.cause : undefined
  for (let depth = 0; cause !== undefined && cause !== null && depth < deepestCause; depth++) {
    text += `, caused by: ${ownMessage(cause)}`
    cause = cause instanceof Error ? cause.cause : undefined
  }
  if (text.length <= longestMessage) return text
  return `${text.slice(0, keptEnd)}...truncated...${text.slice(-keptEnd)}`
}

/** `<Class>: <message>`, and with `verbose` a newline and the stack. */
export function errorText(error: unknown, verbose = false): string {
  const text = `${errorClass(error)}: ${errorMessage(error)}`
  return verbose && error instanceof Error && error.stack ? `${text}\n${error.stack}` : text
}

/** The HTTP status an error carries itself (413, 429, 503, 504 …), if any. */
export function errorStatus(error: unknown): number | undefined {
  return error instanceof HttpError ? error.status : undefined
}

function ownMessage(error: unknown): string {
  if (!(error instanceof Error)) return printThrown(error)
  return error.message === '' ? `${errorClass(error)}()` : error.message
}

// String() throws for objects without a prototype or with a throwing toString.
function printThrown(value: unknown): string {
  try {
    return String(value)
  } catch {
    return Object.prototype.toString.call(value)
  }
}
