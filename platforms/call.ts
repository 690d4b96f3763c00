/** What the platforms that answer on the request share: one attempt, headers, documents. Owns no protocol. */
import { setTimeout as delay } from 'node:timers/promises'
import { ServiceError } from '../contracts/errors.ts'
import { retryDelayMs } from '../contracts/retry.ts'
import { unexpectedAnswer } from '../protocols/answer.ts'
import { statusError } from './answers.ts'
import { canceled, type HttpAnswer, type HttpClient, type HttpRequest } from './http.ts'
import type { CallRequest, ModelTarget } from './platform.ts'

type Exchange = Pick<HttpRequest, 'method' | 'path' | 'headers' | 'body'>

const docsTimeoutMs = 10_000
const docsAttempts = 5

/** `host:port` as an origin; an address with a scheme is taken as it is. */
export function originOf(address: string): string {
  return address.includes('://') ? new URL(address).origin : `http://${address}`
}

/** Texts of a target that no message may show. A bare name such as `iris` may be an ordinary word of the message. */
export function hiddenIn(target: ModelTarget): string[] {
  const host = target.address.replace(/^[a-z]+:\/\//i, '').replace(/[/?#].*$/, '')
  const name = host.replace(/:\d+$/, '')
  return [target.address, host, name].filter((text) => /[.:]/.test(text))
}

/** One attempt within the smaller of the target's limit and what is left. Throws unless the answer is 200. */
export async function attempt(
  http: HttpClient,
  request: CallRequest,
  exchange: Exchange,
  busyStatuses: readonly number[] = [],
): Promise<HttpAnswer> {
  const { target, signal, remainingMs } = request
  const answer = await http.send({
    ...exchange,
    origin: originOf(target.address),
    signal,
    timeoutMs: Math.min(target.timeoutMs, remainingMs),
  })
  if (answer.status !== 200) throw statusError(answer, hiddenIn(target), busyStatuses)
  return answer
}

/** The prediction id goes along, so that a model server can recognise a repeated call. */
export function callHeaders(request: CallRequest, host?: string): string[] {
  const headers = ['content-type', 'application/json', 'idempotency-key', request.id]
  if (host !== undefined) headers.push('host', host)
  if (request.headers !== undefined) {
    for (const [name, value] of Object.entries(request.headers)) headers.push(name, value)
  }
  return headers
}

/** Inherited form of a measured time: seconds with six decimals and an `s`. */
export function secondsText(ms: number): string {
  return `${(ms / 1000).toFixed(6)}s`
}

export function measuredTime(startMs: number): string {
  return secondsText(performance.now() - startMs)
}

/** A name that is one segment of a path; percent-encoding leaves `.` and `..`, which servers resolve. */
export function requireSegment(name: string): string {
  if (name === '' || name === '.' || name === '..' || !name.isWellFormed()) {
    throw new ServiceError('invalid_input', 'model_name cannot be part of a path', { legacyCode: 20002 })
  }
  return name
}

/** A document of the platform as JSON text: 10 s per attempt, at most 5 attempts where a repetition can help. */
export async function readDocs(
  http: HttpClient,
  target: ModelTarget,
  signal: AbortSignal,
  exchange: Exchange,
): Promise<string> {
  for (let failures = 1; ; failures++) {
    try {
      const timeoutMs = Math.min(docsTimeoutMs, target.timeoutMs)
      const answer = await http.send({ ...exchange, origin: originOf(target.address), signal, timeoutMs })
      if (answer.status !== 200) throw statusError(answer, hiddenIn(target))
      return jsonText(answer.text)
    } catch (error) {
      const pauseMs = failures < docsAttempts ? retryDelayMs(error, failures, Math.random()) : undefined
      if (pauseMs === undefined || pauseMs > docsTimeoutMs) throw error
      await delay(pauseMs, undefined, { signal }).catch(() => {
        throw canceled()
      })
    }
  }
}

function jsonText(text: string): string {
  try {
    JSON.parse(text)
    return text
  } catch (cause) {
    throw unexpectedAnswer("the platform's document is not JSON", cause)
  }
}
