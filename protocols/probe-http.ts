/** HTTP as probes need it: polls that cannot hang, requests with a time limit, replies read whole. Judges nothing. */
import { Agent, type Dispatcher, request } from 'undici'
import { signalWithin } from './deadline.ts'
import type { HttpReply, WireCall } from './probe.ts'

/** One poll's time limit (specification, section 6). */
export const pollTimeoutMs = 2000
/** A body beyond this is not an answer to a probe. */
const longestBodyBytes = 64 * 1024 * 1024
const shownCharacters = 500

/** `ms`: from send to the last byte of the body. */
export type Exchange =
  | { reply: HttpReply; ms: number }
  | { reply?: never; ms: number; error: 'timeout' | 'transport'; message: string }

/** A pool for one probe phase. Close it: idle connections keep a stopping server waiting. */
export function makePool(connections: number): Dispatcher {
  return new Agent({ connections, pipelining: 1, keepAliveTimeout: 5000, connect: { timeout: 10_000 } })
}

/** Sends one call. Never throws, except the reason of `signal`. */
export async function exchange(
  address: string,
  call: WireCall,
  options: { timeoutMs: number; signal?: AbortSignal | undefined; dispatcher: Dispatcher },
): Promise<Exchange> {
  const limit = signalWithin(options.timeoutMs, options.signal)
  const since = performance.now()
  try {
    const response = await request(`http://${address}${call.path}`, {
      method: call.method,
      headers: call.headers,
      body: call.body ?? null,
      dispatcher: options.dispatcher,
      signal: limit.signal,
      // The limit above covers the whole exchange.
      headersTimeout: 0,
      bodyTimeout: 0,
    })
    const text = await readBody(response.body)
    const ms = performance.now() - since
    return { reply: { status: response.statusCode, text, json: lenientJson(text) }, ms }
  } catch (error) {
    options.signal?.throwIfAborted()
    const ms = performance.now() - since
    if (limit.signal.aborted) {
      return { ms, error: 'timeout', message: `no answer within ${options.timeoutMs} ms` }
    }
    return { ms, error: 'transport', message: transportText(error) }
  } finally {
    limit.release()
  }
}

/** One poll: 2 seconds, a connection of its own. A reply of any status, or the reason why there was none. */
export async function poll(
  address: string,
  call: Pick<WireCall, 'method' | 'path'> & Partial<WireCall>,
  signal?: AbortSignal,
): Promise<Exchange> {
  const dispatcher = new Agent({ connections: 1, pipelining: 0, connect: { timeout: pollTimeoutMs } })
  try {
    const full = { headers: {}, ...call }
    return await exchange(address, full, { timeoutMs: pollTimeoutMs, signal, dispatcher })
  } finally {
    await dispatcher.destroy()
  }
}

export const jsonHeaders = { 'content-type': 'application/json' } as const

/** What a server says of an error: `error`, else `detail` (text or a list of `{loc, msg}`), else the body. */
export function errorTextOf(reply: HttpReply): string {
  const said = memberOf(reply.json, 'error') ?? memberOf(reply.json, 'detail')
  const text =
    typeof said === 'string' ? said : Array.isArray(said) ? said.map(detailText).join('; ') : reply.text
  return `${reply.status}: ${text.slice(0, shownCharacters) || 'no text'}`
}

export function memberOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)[name]
    : undefined
}

function detailText(item: unknown): string {
  const loc = memberOf(item, 'loc')
  const msg = memberOf(item, 'msg')
  if (typeof msg !== 'string') return JSON.stringify(item)
  return Array.isArray(loc) ? `${loc.join('.')}: ${msg}` : msg
}

async function readBody(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of body) {
    size += chunk.length
    if (size > longestBodyBytes) throw new Error('the answer is too long')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** Python servers print NaN and Infinity bare; they are read as strings. */
function lenientJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // Only texts that are no JSON as they stand come here, so a `NaN` inside a string is no concern otherwise.
  }
  try {
    return JSON.parse(text.replace(/(?<=[[,:]\s*)(-?(?:NaN|Infinity))(?=\s*[\],}])/g, '"$1"'))
  } catch {
    return undefined
  }
}

function transportText(error: unknown): string {
  const code = memberOf(error, 'code')
  const text = error instanceof Error ? error.message : String(error)
  return typeof code === 'string' && !text.includes(code) ? `${code}: ${text}` : text
}
