/** The HTTP side of a provider twin: routes, keys, faults on order, and a memory of every call. Owns no provider's shapes. */
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { isJsonObject, parseJson, printJson } from '../../contracts/json.ts'

export interface TwinCall {
  /** Name of the route, empty if there was none. */
  route: string
  method: string
  path: string
  headers: IncomingHttpHeaders
  body: string
  /** Epoch milliseconds. */
  at: number
}

/**
 * What goes wrong with one call: a status, a reset, no answer at all, an answer that is not JSON, or `lost` = the work
 * is done and its answer never arrives.
 */
export type Fault =
  | number
  | 'reset'
  | 'hang'
  | 'garbage'
  | 'lost'
  | { status: number; body?: unknown; headers?: Record<string, string> }

/** One call on its way through a twin. */
export interface Exchange {
  readonly call: TwinCall
  readonly url: URL
  /** Named groups of the route's pattern. */
  readonly names: Readonly<Record<string, string>>
  /** The body's JSON object, empty if it has none. */
  readonly json: Record<string, unknown>
  /** For streams. */
  readonly response: ServerResponse
  answer(status: number, body: unknown, headers?: Record<string, string>): void
  /** Applies the faults of one job; true if the call is over with that. */
  suffer(faults: Fault[] | undefined): boolean
}

export interface TwinRoute {
  name: string
  method: 'GET' | 'POST'
  pattern: RegExp
  /** Answered without a key. */
  open?: boolean
  handle(exchange: Exchange): void | Promise<void>
}

export interface TwinListening {
  /** 0 = any free port. */
  port?: number
  host?: string
  /** Calls without `Authorization: Bearer <key>` are 401; absent = any key, or none, will do. */
  apiKey?: string
}

export interface TwinServer {
  readonly origin: string
  readonly calls: TwinCall[]
  /** Calls of one route. */
  callsOf(route: string): TwinCall[]
  /** The next calls of a route go wrong, one fault each. */
  fault(route: string, ...faults: Fault[]): void
  close(): Promise<void>
}

export interface TwinAnswers {
  unauthorized: unknown
  notFound: unknown
  error(status: number): unknown
}

export async function startTwinServer(
  routes: readonly TwinRoute[],
  answers: TwinAnswers,
  { port = 0, host = '127.0.0.1', apiKey }: TwinListening,
): Promise<TwinServer> {
  const calls: TwinCall[] = []
  const faults = new Map<string, Fault[]>()
  const sockets = new Set<Socket>()

  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => void handle(request, response, Buffer.concat(chunks).toString('utf8')))
  })

  async function handle(request: IncomingMessage, response: ServerResponse, body: string): Promise<void> {
    const { method = '', url: target = '/' } = request
    const url = new URL(target, 'http://twin')
    const route = routes.find((each) => each.method === method && each.pattern.test(url.pathname))
    const call = {
      route: route?.name ?? '',
      method,
      path: target,
      headers: request.headers,
      body,
      at: Date.now(),
    }
    calls.push(call)
    let isLost = false

    const answer: Exchange['answer'] = (status, content, headers = {}) => {
      if (isLost) {
        request.socket.resetAndDestroy()
        return
      }
      response.writeHead(status, { 'content-type': 'application/json', ...headers })
      response.end(content === undefined ? '' : printJson(content))
    }
    const suffer: Exchange['suffer'] = (queue) => {
      const fault = queue?.shift()
      if (fault === undefined) return false
      if (fault === 'hang') return true
      if (fault === 'reset') request.socket.resetAndDestroy()
      else if (fault === 'garbage') response.end('<html>this is not what you wanted</html>')
      else if (fault === 'lost') isLost = true
      else if (typeof fault === 'number') answer(fault, answers.error(fault))
      else answer(fault.status, fault.body ?? answers.error(fault.status), fault.headers)
      return fault !== 'lost'
    }

    if (route === undefined) return answer(404, answers.notFound)
    if (suffer(faults.get(route.name))) return
    if (apiKey !== undefined && !route.open && request.headers.authorization !== `Bearer ${apiKey}`) {
      return answer(401, answers.unauthorized)
    }
    const names = route.pattern.exec(url.pathname)?.groups ?? {}
    await route.handle({ call, url, names, json: objectIn(body), response, answer, suffer })
  }

  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, resolve)
  })
  const { port: bound } = server.address() as AddressInfo

  return {
    origin: `http://${host.includes(':') ? `[${host}]` : host}:${bound}`,
    calls,
    callsOf: (name) => calls.filter(({ route }) => route === name),
    fault(name, ...more) {
      faults.set(name, [...(faults.get(name) ?? []), ...more])
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}

function objectIn(body: string): Record<string, unknown> {
  try {
    const value = parseJson(body)
    return isJsonObject(value) ? value : {}
  } catch {
    return {}
  }
}
