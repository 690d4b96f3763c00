/** Between Fetch requests and the server's own form. Refuses ports. */

import { AbortSource } from './abort.ts'
import { HttpError } from './errors.ts'
import { httpTrigger } from './event.ts'
import type { Incoming } from './incoming.ts'
import type { Reply } from './reply.ts'

/** Reads the request; a body above `maxBodyBytes` becomes a fault (413) and is read no further. */
export async function fromFetch(request: Request, maxBodyBytes: number): Promise<Incoming> {
  const read = await readBody(request, maxBodyBytes)
  return {
    method: request.method,
    path: new URL(request.url).pathname,
    headers: Object.fromEntries(request.headers),
    body: read instanceof Error ? undefined : read,
    trigger: httpTrigger,
    abort: new AbortSource(request),
    ...(read instanceof Error ? { fault: read } : {}),
  }
}

export function tooLarge(maxBodyBytes: number): HttpError {
  return new HttpError(413, `the request body is larger than ${maxBodyBytes} bytes`)
}

/** `head`: the same answer without its body. */
export function toResponse(reply: Reply | Response, head: boolean): Response {
  if (reply instanceof Response) return head ? new Response(null, reply) : reply
  const headers: Record<string, string> = { ...reply.headers }
  if (reply.contentType !== '') headers['content-type'] = reply.contentType
  return new Response(head ? null : bodyOf(reply.body), { status: reply.status, headers })
}

/** The whole body, or the 413 once it is too large. */
export async function readBody(
  message: Request | Response,
  maxBodyBytes: number,
): Promise<Uint8Array | undefined | Error> {
  if (Number(message.headers.get('content-length') ?? 0) > maxBodyBytes) return tooLarge(maxBodyBytes)
  if (message.body === null) return undefined
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of message.body) {
    size += chunk.byteLength
    if (size > maxBodyBytes) return tooLarge(maxBodyBytes)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function bodyOf(body: Reply['body']): string | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array> | null {
  if (body === undefined || typeof body === 'string') return body ?? null
  if (body instanceof Uint8Array) return new Uint8Array(body)
  return textStream(body)
}

function textStream(pieces: AsyncIterable<string>): ReadableStream<Uint8Array> {
  const iterator = pieces[Symbol.asyncIterator]()
  const encoder = new TextEncoder()
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = await iterator.next()
      if (done) controller.close()
      else controller.enqueue(encoder.encode(value))
    },
    async cancel() {
      await iterator.return?.()
    },
  })
}
