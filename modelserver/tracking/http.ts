/** Posts records to an HTTP endpoint, one JSON body each, in order. A record is lost unless the answer is 2xx; no retries. */

import { printJson } from '../../contracts/json.ts'
import { ValueError } from '../errors.ts'
import { PushError } from './push.ts'
import type { StreamTarget } from './target.ts'

/** `stream_args`: `headers` (an object of texts) and `timeout_ms` per record (5000). */
export class HttpStream implements StreamTarget {
  readonly #url: string
  readonly #headers: Record<string, string>
  readonly #timeoutMs: number

  constructor(
    url: string,
    { headers = {}, timeout_ms: timeoutMs = 5000 }: Readonly<Record<string, unknown>> = {},
  ) {
    if (!URL.canParse(url)) throw new ValueError(`unsupported stream path ${url}`)
    if (typeof timeoutMs !== 'number' || !(timeoutMs > 0)) {
      throw new ValueError(`stream_args.timeout_ms must be a number above 0, got ${String(timeoutMs)}`)
    }
    this.#url = url
    this.#timeoutMs = timeoutMs
    this.#headers = { 'content-type': 'application/json' }
    for (const [name, value] of Object.entries(headers as object))
      this.#headers[name.toLowerCase()] = String(value)
  }

  async push(records: unknown[]): Promise<void> {
    const errors: unknown[] = []
    for (const record of records) {
      try {
        await this.#post(record)
      } catch (error) {
        errors.push(error)
      }
    }
    if (errors.length > 0) {
      throw new PushError(errors.length, `${errors.length} of ${records.length} records were not taken`, {
        cause: errors[0],
      })
    }
  }

  async #post(record: unknown): Promise<void> {
    const response = await fetch(this.#url, {
      method: 'POST',
      headers: { ...this.#headers, ...traceOf(record) },
      body: printJson(record),
      signal: AbortSignal.timeout(this.#timeoutMs),
    })
    // Read to the end, or the connection is not used again.
    await response.arrayBuffer()
    if (!response.ok) throw new Error(`the stream answered ${response.status}`)
  }
}

/** A record of a traced request is sent as part of that trace. */
function traceOf(record: unknown): { traceparent?: string } {
  if (typeof record !== 'object' || record === null || !('traceparent' in record)) return {}
  return typeof record.traceparent === 'string' ? { traceparent: record.traceparent } : {}
}
