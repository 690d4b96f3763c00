/** How validation talks to a model server: one readiness poll, one request, one judgement. Each kind has a file; none repeats anything. */
import type { ProbeRequest } from '../contracts/validation-requests.ts'
import type { ServingBinary } from './serving-binary.ts'

/** `NOT_READY`: poll on. `UNAVAILABLE`: it will never be; `reason` is the server's own. */
export interface Readiness {
  status: 'NOT_READY' | 'READY' | 'UNAVAILABLE'
  reason: string
}

export interface ProbeTarget {
  /** `host:port` by port name; `http` where requests go. */
  endpoints: Record<string, string>
  modelName: string
  binary: Pick<ServingBinary, 'kind' | 'modelVersion' | 'statusVia' | 'readiness' | 'inference'>
  /** The server's output so far, for rules on logs. */
  logs?: () => Promise<string | null>
}

/** One output as the server names it; `shape` and `datatype` where its protocol has them. */
export interface Output {
  data: unknown
  shape?: number[]
  datatype?: string
}

export interface WireCall {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH'
  path: string
  headers: Record<string, string>
  /** JSON text; absent: no body. */
  body?: string
}

export interface HttpReply {
  status: number
  text: string
  /** The body as JSON; undefined when it is none. */
  json: unknown
}

/** `busy`: the server had no slot and did nothing; ask again. `bad`: a failed request. */
export type Judgement =
  | { good: true; outputs: Record<string, Output> }
  | { good: false; kind: 'busy' | 'bad'; message: string }

/** One kind of model server. Requests have passed the kind's schema before. */
export interface Probe {
  /** One poll within its own time limit, over a fresh connection. Never throws, except when `signal` fires. */
  ready(target: ProbeTarget, signal?: AbortSignal): Promise<Readiness>
  /** The HTTP call of a request; `id` is sent where the protocol knows ids. */
  call(target: ProbeTarget, request: ProbeRequest, id: string): WireCall
  /** Whether a reply is a good answer to that request (specification, section 6). */
  judge(target: ProbeTarget, reply: HttpReply, request: ProbeRequest, id: string): Judgement
}

export function bad(message: string): Judgement {
  return { good: false, kind: 'bad', message }
}
