/** Perdure's own store as a target: records and model endpoints over the record service's HTTP. No retries. */

import { isJsonObject, parseJson, printJson } from '../../contracts/json.ts'
import { ValueError } from '../errors.ts'
import type { EndpointAttributes, EndpointRecord, EndpointStore } from './endpoints.ts'
import type { StreamTarget } from './target.ts'

/** `perdure://host:port` is the API's address, or that of a record service of its own. `perdures://` is TLS. */
const form = /^perdure(s?):\/\/([^/?#]+)\/?$/

/** Records of one request: far below the service's default limit of 10 MiB even with large inputs. */
const mostTogether = 100

interface Service {
  call(method: string, path: string, body?: unknown): Promise<{ status: number; body: unknown }>
}

/** `stream_args`: `api_key` (the service's `SECRET_APIKEY`) and `timeout_ms` per request (5000). */
export class PerdureStream implements StreamTarget {
  readonly #service: Service

  constructor(path: string, args: Readonly<Record<string, unknown>> = {}) {
    this.#service = serviceAt(path, args)
  }

  async push(records: unknown[]): Promise<void> {
    for (let from = 0; from < records.length; from += mostTogether) {
      await taken(this.#service, 'POST', '/tracking', records.slice(from, from + mostTogether))
    }
  }
}

/** Model endpoint records in Perdure's store. `args` as for `PerdureStream`. */
export function perdureEndpoints(path: string, args: Readonly<Record<string, unknown>> = {}): EndpointStore {
  const service = serviceAt(path, args)
  const at = (project: string, uid: string) =>
    `/model-endpoints/${encodeURIComponent(project)}/${encodeURIComponent(uid)}`
  return {
    async get(project, uid): Promise<EndpointRecord | undefined> {
      const { status, body } = await service.call('GET', at(project, uid))
      if (status === 404) return undefined
      if (status !== 200 || !isEndpoint(body)) throw refusal(status, body)
      return body
    },
    async create(record): Promise<void> {
      const { status, body } = await service.call('POST', '/model-endpoints', record)
      // Another server of the same model was quicker: the record is there.
      if (status !== 200 && status !== 409) throw refusal(status, body)
    },
    async patch(project, uid, attributes: EndpointAttributes): Promise<void> {
      await taken(service, 'PATCH', at(project, uid), attributes)
    },
  }
}

function serviceAt(path: string, args: Readonly<Record<string, unknown>>): Service {
  const { api_key: apiKey, timeout_ms: timeoutMs = 5000 } = args
  const [, secure = '', address = ''] = form.exec(path) ?? []
  const base = `http${secure}://${address}`
  if (address === '' || !URL.canParse(base)) throw new ValueError(`unsupported stream path ${path}`)
  if (typeof timeoutMs !== 'number' || !(timeoutMs > 0)) {
    throw new ValueError(`stream_args.timeout_ms must be a number above 0, got ${String(timeoutMs)}`)
  }
  const key = typeof apiKey === 'string' && apiKey !== '' ? { apikey: apiKey } : {}
  return {
    async call(method, at, body) {
      const response = await fetch(base + at, {
        method,
        headers: { 'content-type': 'application/json', ...key },
        ...(body === undefined ? {} : { body: printJson(body) }),
        signal: AbortSignal.timeout(timeoutMs),
      })
      const text = await response.text()
      return { status: response.status, body: parsed(text) }
    },
  }
}

async function taken(service: Service, method: string, path: string, sent: unknown): Promise<void> {
  const { status, body } = await service.call(method, path, sent)
  if (status !== 200) throw refusal(status, body)
}

function refusal(status: number, body: unknown): Error {
  const why = isJsonObject(body) && typeof body.error === 'string' ? `: ${body.error}` : ''
  return new Error(`the Perdure store answered ${status}${why}`)
}

function parsed(text: string): unknown {
  try {
    return parseJson(text)
  } catch {
    return undefined
  }
}

function isEndpoint(value: unknown): value is EndpointRecord {
  return isJsonObject(value) && value.kind === 'model-endpoint' && isJsonObject(value.spec)
}
