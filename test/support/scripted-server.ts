/** A local HTTP server that answers as its script says and remembers what it saw. Owns misbehaviour on purpose; knows no platform. */
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'

export interface SeenCall {
  method: string
  /** With the query. */
  path: string
  headers: IncomingHttpHeaders
  body: string
  /** Epoch milliseconds. */
  at: number
  /** The caller closed the connection before the answer was complete. */
  aborted: boolean
}

/** Answers one call, or leaves it open. */
export type Step = (call: SeenCall, response: ServerResponse, request: IncomingMessage) => void

export interface ScriptedServer {
  /** `127.0.0.1:<port>`. */
  readonly address: string
  readonly origin: string
  readonly calls: SeenCall[]
  /** Connections ever accepted. */
  readonly connections: number
  /** Connections open now. */
  readonly open: number
  /** One step per call, in order; the last one goes on for all later calls. */
  script(...steps: [Step, ...Step[]]): void
  close(): Promise<void>
}

export async function startScriptedServer(
  first: Step = json({}),
  options: { keepAliveTimeoutMs?: number } = {},
): Promise<ScriptedServer> {
  let steps: Step[] = [first]
  const calls: SeenCall[] = []
  const sockets = new Set<Socket>()
  let connections = 0

  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const call: SeenCall = {
        method: request.method ?? '',
        path: request.url ?? '',
        headers: request.headers,
        body: Buffer.concat(chunks).toString('utf8'),
        at: Date.now(),
        aborted: false,
      }
      calls.push(call)
      response.on('close', () => {
        if (!response.writableFinished) call.aborted = true
      })
      const step = steps.length > 1 ? steps.shift() : steps[0]
      step?.(call, response, request)
    })
  })
  server.keepAliveTimeout = options.keepAliveTimeoutMs ?? 60_000
  server.on('connection', (socket) => {
    connections++
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo

  return {
    address: `127.0.0.1:${port}`,
    origin: `http://127.0.0.1:${port}`,
    calls,
    get connections() {
      return connections
    },
    get open() {
      return sockets.size
    },
    script(...next) {
      steps = [...next]
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}

/** JSON text as it is, anything else printed. */
export function json(body: unknown, status = 200, headers: Record<string, string> = {}): Step {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return send(text, status, { 'content-type': 'application/json', ...headers })
}

export function send(text: string, status = 200, headers: Record<string, string> = {}): Step {
  return (_call, response) => {
    response.writeHead(status, headers)
    response.end(text)
  }
}

/** Never answers. */
export const hang: Step = () => undefined

/** Reads the whole request, then resets the connection. */
export const resetAfterRequest: Step = (_call, _response, request) => {
  request.socket.resetAndDestroy()
}

/** Promises a longer body than it sends, then resets. */
export function resetMidBody(text = '{"outputs":[1'): Step {
  return (_call, response, request) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': text.length + 1000 })
    response.write(text, () => request.socket.resetAndDestroy())
  }
}

/** Bytes that are not HTTP. */
export function rawBytes(text: string): Step {
  return (_call, _response, request) => {
    request.socket.end(text)
  }
}

/** One chunk each `everyMs`, for ever. */
export function drip(chunk: string, everyMs: number): Step {
  return (_call, response) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    const timer = setInterval(() => response.write(chunk), everyMs)
    response.on('close', () => clearInterval(timer))
  }
}

/** A JSON string of this many bytes. */
export function huge(bytes: number): Step {
  return (_call, response) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    const block = 'x'.repeat(64 * 1024)
    let left = bytes
    response.write('{"output":"')
    const more = () => {
      while (left > 0 && !response.destroyed) {
        left -= block.length
        if (!response.write(block)) {
          response.once('drain', more)
          return
        }
      }
      response.end('"}')
    }
    more()
  }
}

/** Answers after `ms`, unless the caller has gone. */
export function after(ms: number, step: Step): Step {
  return (call, response, request) => {
    const timer = setTimeout(() => step(call, response, request), ms)
    response.on('close', () => clearTimeout(timer))
  }
}
