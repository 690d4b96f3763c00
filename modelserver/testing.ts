/** Requests and answers of `server.test` and `server.run`: a whole server in-process, no port. */

import { AbortSource } from './abort.ts'
import { httpTrigger, type Trigger } from './event.ts'
import type { Incoming } from './incoming.ts'
import { jsonText, Reply } from './reply.ts'

export interface TestOptions {
  /** An object is sent as JSON; text and bytes as they are. */
  body?: unknown
  /** Default: POST with a body, else GET. */
  method?: string
  headers?: Record<string, string>
  contentType?: string
  eventId?: string
  trigger?: Trigger
  /** Answers from 300 up are returned instead of thrown. */
  silent?: boolean
}

/** `body` is parsed JSON, text, or bytes, as the content type says; undefined if empty. */
export interface TestAnswer {
  readonly status: number
  readonly contentType: string
  readonly headers: Headers
  readonly body: unknown
  readonly text: string
}

export function testRequest(path: string, options: TestOptions): Incoming {
  const { body, contentType, eventId, trigger = httpTrigger } = options
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(options.headers ?? {})) headers[name.toLowerCase()] = value
  if (contentType !== undefined) headers['content-type'] = contentType
  if (eventId !== undefined) headers['mlrun-event-id'] = eventId
  const method = options.method ?? (body === undefined ? 'GET' : 'POST')
  return { method, path, headers, body: bytesOf(body), trigger, abort: new AbortSource() }
}

export async function readAnswer(reply: Reply | Response): Promise<TestAnswer> {
  const response = reply instanceof Reply ? undefined : reply
  const status = reply.status
  const contentType = reply instanceof Reply ? reply.contentType : (reply.headers.get('content-type') ?? '')
  const headers = response?.headers ?? new Headers(reply instanceof Reply ? reply.headers : undefined)
  const bytes = reply instanceof Reply ? await collect(reply.body) : new Uint8Array(await reply.arrayBuffer())
  const text = Buffer.from(bytes).toString('utf8')
  return { status, contentType, headers, body: bodyOf(bytes, text, contentType), text }
}

function bodyOf(bytes: Uint8Array, text: string, contentType: string): unknown {
  if (bytes.byteLength === 0) return undefined
  if (contentType.startsWith('application/json')) return JSON.parse(text)
  return contentType.startsWith('text/') || contentType.includes('ndjson') ? text : bytes
}

function bytesOf(body: unknown): Uint8Array | undefined {
  if (body === undefined || body instanceof Uint8Array) return body
  return Buffer.from(typeof body === 'string' ? body : jsonText(body))
}

async function collect(body: Reply['body']): Promise<Uint8Array> {
  if (body === undefined) return new Uint8Array()
  if (typeof body === 'string') return Buffer.from(body)
  if (body instanceof Uint8Array) return body
  return Buffer.from((await Array.fromAsync(body)).join(''))
}
