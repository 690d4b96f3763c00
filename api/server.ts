/** A listening HTTP server for a Hono app: binds exactly where it is told, ends running requests before it closes. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { getRequestListener } from '@hono/node-server'
import { foreignPage } from './foreign-pages.ts'

export interface ListenAddress {
  host: string
  /** 0 = any free one. */
  port: number
}

export interface HttpServer {
  host: string
  port: number
  /** `http://host:port` as a client on this machine reaches it. */
  url: string
  /** Still serves, but every answer ends its connection: clients that keep one open go elsewhere in time. */
  leave(): void
  /** The listener closes at once; resolves when running requests have ended. */
  close(): Promise<void>
  /** Cuts what still runs. */
  closeNow(): void
}

interface Fetches {
  fetch(request: Request, env: object): Response | Promise<Response>
}

const badRequest = '{"error":"the request cannot be understood","code":"invalid_input"}'
const jsonType = 'application/json; charset=utf-8'
/** Longer than the idle time of usual load balancers, so that they close first. */
const keepAliveMs = 75_000
const sweepMs = 50
/** The head of a request comes soon; its body may be an upload of 5 GiB over a slow line, which Node would cut after 5 minutes. */
const headMs = 60_000
const requestMs = 3_600_000

/** Throws an `Error` of one clear line when the address cannot be had. */
export async function serveHttp(app: Fetches, { host, port }: ListenAddress): Promise<HttpServer> {
  const listener = getRequestListener((request, env) => app.fetch(request, env), {
    // A request whose target or Host header makes no URL.
    errorHandler: () => new Response(badRequest, { status: 400, headers: { 'content-type': jsonType } }),
  })
  let leaving = false
  const bound = { address: '', port: 0 }
  const times = { keepAliveTimeout: keepAliveMs, headersTimeout: headMs, requestTimeout: requestMs }
  const server = createServer(times, (incoming, outgoing) => {
    if (leaving) outgoing.shouldKeepAlive = false
    const foreign = foreignPage(incoming, bound)
    if (foreign !== undefined) return refuse(outgoing, foreign)
    if (bodyless.has(incoming.method)) cutUnread(incoming, outgoing)
    void listener(incoming, outgoing)
  })
  server.on('clientError', (error, socket) => {
    const cut = 'code' in error && error.code === 'ECONNRESET'
    if (cut || !socket.writable) return void socket.destroy()
    const head = `HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: ${jsonType}`
    socket.end(`${head}\r\nContent-Length: ${Buffer.byteLength(badRequest)}\r\n\r\n${badRequest}`)
  })
  await listen(server, host, port)
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the server has no port')
  Object.assign(bound, address)
  const reachable = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '[::1]' : bracketed(host)
  return {
    host,
    port: bound.port,
    url: `http://${reachable}:${bound.port}`,
    leave() {
      leaving = true
    },
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      // A kept-alive connection becomes idle only when its running request ends.
      const sweep = setInterval(() => server.closeIdleConnections(), sweepMs)
      await closed
      clearInterval(sweep)
    },
    closeNow: () => server.closeAllConnections(),
  }
}

/** The listener reads on, for a moment, what others still send after their answer; of these it expects no body. */
const bodyless: ReadonlySet<string | undefined> = new Set(['GET', 'HEAD'])
const unreadMs = 500

/** A body that nobody reads to its end would keep the connection open, and with it the end of the process. */
function cutUnread(incoming: IncomingMessage, outgoing: ServerResponse): void {
  // Taken now: a request that its reader gives up lets go of its socket.
  const { socket } = incoming
  outgoing.once('finish', () => {
    if (incoming.complete || socket.destroyed) return
    // The caller has this time to take its answer: what is cut may be lost.
    const cut = setTimeout(() => socket.destroy(), unreadMs)
    socket.once('close', () => clearTimeout(cut))
  })
}

/** What it sends on is not read. */
function refuse(outgoing: ServerResponse, reason: string): void {
  outgoing.writeHead(422, { 'content-type': jsonType, connection: 'close' })
  outgoing.end(JSON.stringify({ error: reason, code: 'invalid_header' }))
}

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      reject(new Error(`cannot listen on ${bracketed(host)}:${port}: ${reasonOf(cause)}`, { cause }))
    })
    server.listen({ host, port }, () => {
      server.removeAllListeners('error')
      resolve()
    })
  })
}

function reasonOf({ code, message }: NodeJS.ErrnoException): string {
  switch (code) {
    case 'EADDRINUSE':
      return 'the port is already in use'
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return 'this machine has no such address'
    case 'EACCES':
      return 'not permitted'
    default:
      return message
  }
}
