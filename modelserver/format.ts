/** From body bytes to what a router works with (3.2, 3.3). Knows JSON and images; tensors are read elsewhere. */

import { parseJson } from '../contracts/json.ts'
import { isPlainObject, type ModelEvent } from './event.ts'
import { UndecodableJson, UnrecognizedFormat } from './faults.ts'

/**
 * Parses the body if the type says JSON or there is none; with no type, what is no JSON stays as it is. `exact` keeps
 * numbers that a double would change as `JSON.rawJSON` (the tensors of INT64 need them).
 */
export function decodeBody(event: ModelEvent, explicit: boolean, exact: boolean): void {
  const { body } = event
  if (!(body instanceof Uint8Array) || !isJsonType(event.contentType)) return
  try {
    event.body = parse(body, exact)
  } catch (error) {
    if (explicit) throw new UndecodableJson(reasonOf(error))
  }
}

/** The body as an object: parsed whatever its type, or an image as the one input. Throws `UnrecognizedFormat`. */
export function toObject(event: ModelEvent): Record<string, unknown> {
  const { body, contentType } = event
  let value = body
  let reason: string | undefined
  if (body instanceof Uint8Array || typeof body === 'string') {
    try {
      value = typeof body === 'string' ? JSON.parse(body) : parse(body, false)
    } catch (error) {
      reason = reasonOf(error)
    }
  }
  if (isPlainObject(value)) return value
  if (contentType.startsWith('image/') && body instanceof Uint8Array) return { inputs: [body] }
  throw new UnrecognizedFormat(reason ?? `expected a JSON object, got ${kindOf(value)}`)
}

function isJsonType(contentType: string): boolean {
  if (contentType === 'application/json' || contentType === '' || contentType === 'json') return true
  const media = contentType.split(';', 1)[0]?.trim().toLowerCase()
  return media === 'application/json' || media === 'json'
}

const strict = new TextDecoder('utf-8', { fatal: true })

// Buffer's own decoding is faster than TextDecoder's; a replacement character shows that it must be looked at again.
function parse(bytes: Uint8Array, exact: boolean): unknown {
  let text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
  if (text.includes('\uFFFD')) text = strict.decode(bytes)
  return exact ? parseJson(text) : JSON.parse(text)
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function kindOf(value: unknown): string {
  if (value === null) return 'null'
  if (value instanceof Uint8Array) return 'bytes'
  return Array.isArray(value) ? 'a list' : `a ${typeof value}`
}
