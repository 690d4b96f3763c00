/** What a platform's error answer means (prediction-agent specification, 2.3 and 5.1). Owns codes and clean messages; sends nothing. */
import { type ErrorCode, ServiceError } from '../contracts/errors.ts'
import { retryAfter } from '../contracts/retry.ts'
import type { HttpAnswer } from './http.ts'

/** Inherited number of every answer that is not a success. */
const legacyCode = 20007
const longestMessage = 500

/**
 * The error for an answer other than 200. `hidden` are texts that must not be shown: configured addresses, keys.
 * `busyStatuses` are further statuses that mean "not ready yet" on this platform (408 on mlrun's model server).
 */
export function statusError(
  answer: HttpAnswer,
  hidden: readonly string[],
  busyStatuses: readonly number[] = [],
): ServiceError {
  const { status } = answer
  const code = busyStatuses.includes(status) ? 'platform_busy' : codeOfStatus(status)
  const retryAfterMs = retryAfter(answer.headers['retry-after'], Date.now())
  return new ServiceError(code, platformMessage(answer, hidden), {
    upstreamStatus: status,
    legacyCode,
    ...(retryAfterMs === undefined || code !== 'platform_busy' ? {} : { retryAfterMs }),
  })
}

function codeOfStatus(status: number): ErrorCode {
  if (status === 401 || status === 403) return 'platform_credentials'
  if (status === 429 || status === 503) return 'platform_busy'
  if (status === 408) return 'platform_timeout'
  if (status === 504) return 'platform_gateway_timeout'
  if (status === 502) return 'platform_bad_gateway'
  if (status >= 500) return 'platform_error'
  if (status >= 400) return 'platform_rejected'
  return 'platform_bad_answer'
}

function platformMessage(answer: HttpAnswer, hidden: readonly string[]): string {
  return cleanMessage(messageIn(answer.text), hidden) || `the platform answered ${answer.status}`
}

/** The text in the error bodies that platforms send: `error`, `detail` (FastAPI: a list), `message`, plain text. */
export function messageIn(text: string): string {
  if (/^\s*</.test(text)) return ''
  try {
    return messageOf(JSON.parse(text))
  } catch {
    return text
  }
}

function messageOf(value: unknown): string {
  if (typeof value === 'string') return value
  if (Array.isArray(value)) return value.map(messageOf).filter(Boolean).join('; ')
  if (typeof value !== 'object' || value === null) return ''
  const { error, detail, message, error_message, msg, loc, title } = value as Record<string, unknown>
  if (typeof msg === 'string') return Array.isArray(loc) ? `${loc.join('.')}: ${msg}` : msg
  return [error, detail, message, error_message, title].map(messageOf).find(Boolean) ?? ''
}

const url = /\b[a-z][a-z0-9+.-]*:\/\/[^\s"'<>)\]}]+/gi
const hostPort = /(?<![\w.])(?=[\w.-]*[a-z.])[a-z0-9](?:[\w.-]*[a-z0-9])?:\d{2,5}(?!\w)/gi
const ipV6Port = /\[[0-9a-f:.%]+\]:\d{1,5}/gi
const ipV4 = /(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])/g
const goMap = /map\[[^\]]*\]?/g
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
const control = /[\u0000-\u001f\u007f]+/g

/** A platform's text made fit to be shown: no address, URL, key or Go `map[` dump, one line, at most 500 characters. */
export function cleanMessage(text: string, hidden: readonly string[]): string {
  let clean = text.slice(0, 4 * longestMessage)
  for (const secret of hidden) if (secret !== '') clean = clean.replaceAll(secret, '***')
  clean = clean
    .replace(control, ' ')
    .replace(url, '***')
    .replace(ipV6Port, '***')
    .replace(hostPort, '***')
    .replace(ipV4, '***')
    .replace(goMap, '')
    .replace(/ {2,}/g, ' ')
    .trim()
  return clean.length > longestMessage ? `${clean.slice(0, longestMessage - 1)}…` : clean
}
