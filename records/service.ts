/** What the record service's routes share: their dependencies, the key, and errors as JSON. */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Context, Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { codeOf, type ErrorCode, ServiceError } from '../contracts/errors.ts'
import type { FileBytes } from './files.ts'
import type { Store } from './store.ts'
import type { UploadTokens } from './upload-tokens.ts'

export interface RecordServiceDeps {
  store: Store
  bytes: FileBytes
  tokens: UploadTokens
}

export interface RecordServiceSettings {
  /** `SECRET_APIKEY`; empty = open. */
  apiKey: string
  /** Of JSON bodies. */
  maxBodyBytes: number
  maxFileBytes: number
  /** Files whose prediction is gone are kept for this long. */
  retentionMs: number
  /** `http://host:port` under which files are downloaded; without it, where the upload came in. */
  baseUrl?: () => string
  /** Around every handler, to measure and log it; `path` is its pattern. */
  observe?: (path: string, handler: RecordHandler) => RecordHandler
}

/** The Node request is there under Node's server, not under `app.request()`. */
export interface RecordServiceEnv {
  Bindings: { incoming?: IncomingMessage }
}
export type RecordServiceContext = Context<RecordServiceEnv>
export type RecordHandler = (c: RecordServiceContext) => Promise<Response>
export type RecordServiceApp = Hono<RecordServiceEnv>

/** The handler as its surroundings want to see it. */
export function observed(
  { observe }: RecordServiceSettings,
  path: string,
  handler: RecordHandler,
): RecordHandler {
  return observe?.(path, handler) ?? handler
}

/** Refuses larger bodies while they arrive. */
export function bodyLimited({ maxBodyBytes }: RecordServiceSettings) {
  return bodyLimit({
    maxSize: maxBodyBytes,
    onError: () => {
      throw new ServiceError('payload_too_large', `the request body is larger than ${maxBodyBytes} bytes`)
    },
  })
}

/** Codes that these routes throw; anything else is a 500. */
const httpStatus: Partial<Record<ErrorCode, number>> = {
  invalid_input: 400,
  unauthorized: 401,
  not_found: 404,
  method_not_allowed: 405,
  conflict: 409,
  payload_too_large: 413,
  store_unavailable: 503,
}

const jsonType = 'application/json; charset=utf-8'

export function jsonText(text: string, status = 200, headers: Record<string, string> = {}): Response {
  return new Response(text, { status, headers: { 'content-type': jsonType, ...headers } })
}

/** `onUnexpected` sees what is no `ServiceError`; the caller learns nothing of it. */
export function errorAnswer(error: unknown, onUnexpected: (error: unknown) => void): Response {
  const code = codeOf(error)
  const status = httpStatus[code]
  if (!(error instanceof ServiceError) || status === undefined) {
    onUnexpected(error)
    return jsonText('{"error":"internal error","code":"internal"}', 500)
  }
  const headers: Record<string, string> = status === 503 ? { 'retry-after': '1' } : {}
  // The rest of an upload that was refused is not worth reading.
  if (status === 413) headers.connection = 'close'
  return jsonText(JSON.stringify({ error: error.message, code }), status, headers)
}

/** Header `apikey`, compared in constant time. Texts as inherited (prediction-agent specification, 4). */
export function checkKey(c: RecordServiceContext, apiKey: string): void {
  if (apiKey === '') return
  const given = c.req.header('apikey')
  if (given === undefined) throw new ServiceError('unauthorized', 'authorization header is not provided')
  if (given === '' || /\s/.test(given)) {
    throw new ServiceError('unauthorized', 'invalid authorization header format')
  }
  const digest = (text: string) => createHash('sha256').update(text).digest()
  if (!timingSafeEqual(digest(given), digest(apiKey))) throw new ServiceError('unauthorized', 'no permission')
}
