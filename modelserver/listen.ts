/** Puts a started server on a port. Model requests take a short way past Fetch objects; the application is asked when it has routes of its own. */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { getRequestListener } from '@hono/node-server'
import { AbortSource } from './abort.ts'
import { httpTrigger } from './event.ts'
import { tooLarge } from './fetch.ts'
import type { ServedModels } from './http/served-models.ts'
import { Reply } from './reply.ts'

export interface Listening {
  readonly host: string
  readonly port: number
  readonly url: string
  /** Takes no more connections; resolves when those that are open have ended, at the latest after `closeGraceMs`. */
  close(): Promise<void>
}

/** `port` 0 = any free one. Rejects when the address is taken. */
export async function listen(
  server: ServedModels,
  {
    host = '127.0.0.1',
    port = 0,
    closeGraceMs = 2000,
  }: { host?: string; port?: number; closeGraceMs?: number } = {},
): Promise<Listening> {
  const extended = getRequestListener((request) => server.fetch(request))
  const http = createServer((request, response) => {
    if (server.app.routes.length > 0) void extended(request, response)
    else serveRaw(server, request, response)
  })
  // A client that keeps its connection between requests must not meet one the server just closed.
  http.keepAliveTimeout = 75_000
  await new Promise<void>((resolve, reject) => {
    http.once('error', reject)
    http.listen(port, host, resolve)
  })
  const address = boundTo(http)
  const shown = address.family === 'IPv6' ? `[${host}]` : host
  return {
    host,
    port: address.port,
    url: `http://${shown}:${address.port}`,
    close: () =>
      new Promise((resolve, reject) => {
        // A client that neither reads nor leaves must not hold up the end.
        const late = setTimeout(() => http.closeAllConnections(), closeGraceMs)
        http.close((error) => {
          clearTimeout(late)
          if (error === undefined) resolve()
          else reject(error)
        })
        http.closeIdleConnections()
      }),
  }
}

function boundTo(http: Server): AddressInfo {
  const address = http.address()
  if (address === null || typeof address === 'string') throw new Error('no TCP address')
  return address
}

function serveRaw(server: ServedModels, request: IncomingMessage, response: ServerResponse): void {
  const abort = new AbortSource()
  response.on('close', () => {
    if (!response.writableFinished) abort.abort(new Error('the client is gone'))
  })
  const answer = (body: Buffer | undefined, fault?: Error) => {
    const { method = 'GET', url = '/', headers } = request
    const query = url.indexOf('?')
    const path = query < 0 ? url : url.slice(0, query)
    server
      .handle({
        method,
        path,
        headers,
        body,
        trigger: httpTrigger,
        abort,
        ...(fault === undefined ? {} : { fault }),
      })
      .then((reply) => send(response, reply, method === 'HEAD'))
      .catch(() => response.destroy())
  }
  readBody(request, server.maxBodyBytes, answer)
}

/**
 * Calls back once: with the body, or with a 413 as soon as it is too large. The rest is read and dropped: a connection
 * closed under a client that still sends would lose it the answer. Node's `requestTimeout` ends those without end.
 */
function readBody(
  request: IncomingMessage,
  maxBodyBytes: number,
  done: (body: Buffer | undefined, fault?: Error) => void,
): void {
  const chunks: Buffer[] = []
  let size = 0
  if (Number(request.headers['content-length'] ?? 0) > maxBodyBytes) {
    request.resume()
    done(undefined, tooLarge(maxBodyBytes))
    return
  }
  request.on('data', (chunk: Buffer) => {
    if (size > maxBodyBytes) return
    size += chunk.byteLength
    if (size > maxBodyBytes) done(undefined, tooLarge(maxBodyBytes))
    else chunks.push(chunk)
  })
  request.on('end', () => {
    if (size > maxBodyBytes) return
    const [only] = chunks
    done(chunks.length === 1 ? only : chunks.length === 0 ? undefined : Buffer.concat(chunks))
  })
}

async function send(response: ServerResponse, reply: Reply | Response, head: boolean): Promise<void> {
  if (!(reply instanceof Reply)) return sendFetch(response, reply, head)
  const { status, body, contentType } = reply
  const headers: Record<string, string | number> = { ...reply.headers }
  if (contentType !== '') headers['content-type'] = contentType
  if (body === undefined || typeof body === 'string' || body instanceof Uint8Array) {
    const bytes = body === undefined ? 0 : Buffer.byteLength(body)
    headers['content-length'] = bytes
    response.writeHead(status, headers)
    // Text that is all ASCII is the same in both encodings, and quicker to write in this one.
    if (typeof body === 'string' && !head) response.end(body, bytes === body.length ? 'latin1' : 'utf8')
    else response.end(head ? undefined : body)
    return
  }
  response.writeHead(status, headers)
  if (head) response.end()
  else await pipe(body, response)
}

async function sendFetch(response: ServerResponse, reply: Response, head: boolean): Promise<void> {
  response.statusCode = reply.status
  response.setHeaders(reply.headers)
  if (head || reply.body === null) response.end()
  else await pipe(reply.body, response)
}

/** Writes piece by piece and waits for a slow client; a client that leaves returns the iterator. */
async function pipe(pieces: AsyncIterable<string | Uint8Array>, response: ServerResponse): Promise<void> {
  // Node holds them back until the first piece, which may be long in coming.
  response.flushHeaders()
  for await (const piece of pieces) {
    if (response.destroyed) break
    if (response.write(piece)) continue
    await new Promise<void>((resolve) => {
      const go = () => {
        response.off('drain', go)
        response.off('close', go)
        resolve()
      }
      response.on('drain', go)
      response.on('close', go)
    })
  }
  response.end()
}
