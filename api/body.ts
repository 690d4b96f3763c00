/** Request bodies as text, whatever their Content-Type says, never buffering more than the limit. */
import type { IncomingMessage } from 'node:http'
import { ServiceError } from '../contracts/errors.ts'
import { isJsonObject, parseJson } from '../contracts/json.ts'

/** Of a request's context, what reading its body takes. */
interface BodyContext {
  req: { header(name: string): string | undefined; raw: Request }
  /** The Node request, where a server is behind the context. */
  env?: { incoming?: IncomingMessage }
}

/**
 * The whole body, decoded as UTF-8. Throws `payload_too_large` beyond `maxBytes`, at once where Content-Length says
 * so, and `invalid_input` for text that is not UTF-8 or a caller that left. Bodies of GET requests are read too,
 * which fetch's `Request` cannot: where a Node request is behind the context, it is read itself.
 */
export async function readText(c: BodyContext, maxBytes: number): Promise<string> {
  if (Number(c.req.header('content-length')) > maxBytes) throw tooLarge(maxBytes)
  const incoming: IncomingMessage | undefined = c.env?.incoming
  const chunks = incoming ?? c.req.raw.body
  if (chunks === null) return ''
  return decode(incoming ? await readIncoming(incoming, maxBytes) : await readStream(c.req.raw, maxBytes))
}

/** A JSON object, its numbers digit for digit. Throws `invalid_input`. */
export async function readJsonObject(c: BodyContext, maxBytes: number): Promise<Record<string, unknown>> {
  const text = await readText(c, maxBytes)
  let body: unknown
  try {
    body = parseJson(text)
  } catch (cause) {
    const reason = text.trim() === '' ? 'is empty' : 'is not valid JSON'
    throw new ServiceError('invalid_input', `the request body ${reason}`, { cause })
  }
  if (!isJsonObject(body)) throw new ServiceError('invalid_input', 'the request body must be a JSON object')
  return body
}

function readIncoming(incoming: IncomingMessage, maxBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let bytes = 0
    incoming.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes > maxBytes) {
        incoming.pause()
        reject(tooLarge(maxBytes))
        return
      }
      chunks.push(chunk)
    })
    incoming.once('end', () => resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)))
    const left = () => reject(new ServiceError('invalid_input', 'the request body ended early'))
    incoming.once('error', left)
    incoming.once('close', () => {
      if (!incoming.complete) left()
    })
  })
}

async function readStream(request: Request, maxBytes: number): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of request.body ?? []) {
    bytes += chunk.length
    if (bytes > maxBytes) throw tooLarge(maxBytes)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

function decode(bytes: Buffer): string {
  try {
    return utf8.decode(bytes)
  } catch (cause) {
    throw new ServiceError('invalid_input', 'the request body is not valid UTF-8', { cause })
  }
}

function tooLarge(maxBytes: number): ServiceError {
  return new ServiceError('payload_too_large', `the request body is larger than ${maxBytes} bytes`)
}
