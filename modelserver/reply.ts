/** What the server sends, before any transport: status, type, body. Turns a model's result into that. */

import { parseJson } from '../contracts/json.ts'
import { place } from './body-path.ts'

export type ReplyBody = string | Uint8Array | AsyncIterable<string> | undefined

/** `headers` are those beyond the content type; names in lower case. */
export class Reply {
  readonly status: number
  readonly contentType: string
  readonly body: ReplyBody
  readonly headers: Readonly<Record<string, string>> | undefined

  constructor(status: number, contentType: string, body: ReplyBody, headers?: Record<string, string>) {
    this.status = status
    this.contentType = contentType
    this.body = body
    this.headers = headers
  }

  with({ body = this.body, headers }: { body?: ReplyBody; headers?: Record<string, string> }): Reply {
    return new Reply(this.status, this.contentType, body, { ...this.headers, ...headers })
  }
}

/** The same answer with further headers. */
export function withHeaders(reply: Reply | Response, headers: Record<string, string>): Reply | Response {
  if (reply instanceof Reply) return reply.with({ headers })
  const all = new Headers(reply.headers)
  for (const [name, value] of Object.entries(headers)) all.set(name, value)
  return new Response(reply.body, { status: reply.status, statusText: reply.statusText, headers: all })
}

export function isStream(body: ReplyBody): body is AsyncIterable<string> {
  return typeof body === 'object' && !(body instanceof Uint8Array)
}

export const jsonType = 'application/json'
export const textType = 'text/plain; charset=utf-8'

export function jsonReply(value: unknown, status = 200, headers?: Record<string, string>): Reply {
  return new Reply(status, jsonType, jsonText(value), headers)
}

export function textReply(text: string, status = 200, headers?: Record<string, string>): Reply {
  return new Reply(status, textType, text, headers)
}

/** `{"error": text}`: the form of protocol `oip`, V1, generate and the server's own paths. */
export function errorReply(text: string, status: number, headers?: Record<string, string>): Reply {
  return new Reply(status, jsonType, JSON.stringify({ error: text }), headers)
}

/** A string as text, null or undefined as an empty body, a Response or Reply as it is, anything else as JSON. */
export function render(value: unknown): Reply | Response {
  if (value instanceof Reply || value instanceof Response) return value
  if (typeof value === 'string') return textReply(value)
  if (value === undefined || value === null) return new Reply(200, '', undefined)
  return jsonReply(value)
}

/** JSON with non-finite numbers as null, 64-bit integers digit for digit and typed arrays as lists. */
export function jsonText(value: unknown): string {
  // The replacer makes printing several times slower, so values that need it are found by failure or by looking.
  if (ArrayBuffer.isView(value)) return JSON.stringify(value, printable)
  try {
    return JSON.stringify(value) ?? ''
  } catch (error) {
    if (error instanceof TypeError) return JSON.stringify(value, printable) ?? ''
    throw error
  }
}

/** The result placed in the body it answers (2.5). A reply that holds JSON is opened; others, and responses, stand alone. */
export function placeResult(body: unknown, path: readonly string[], result: unknown): unknown {
  if (result instanceof Response) return result
  if (!(result instanceof Reply)) return place(body, path, result)
  if (result.contentType !== jsonType || typeof result.body !== 'string') return result
  return place(body, path, parseJson(result.body))
}

/** Typed arrays as lists; other values unchanged. */
export function plainList(value: unknown): unknown {
  if (!ArrayBuffer.isView(value) || value instanceof DataView || !isIterable(value)) return value
  return Array.from(value)
}

function printable(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return JSON.rawJSON(String(value))
  return plainList(value)
}

function isIterable(value: object): value is Iterable<unknown> {
  return Symbol.iterator in value
}

export function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value
}
