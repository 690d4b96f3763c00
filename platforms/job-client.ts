/** Requests to a provider of jobs. Owns the key: it goes to the configured origin and nowhere else. Refuses polling and repeating. */
import { codeOf, ServiceError } from '../contracts/errors.ts'
import { isJsonObject, parseJson, printJson } from '../contracts/json.ts'
import { unexpectedAnswer } from '../protocols/answer.ts'
import { cleanMessage, messageIn, statusError } from './answers.ts'
import { secondsText } from './call.ts'
import type { HttpAnswer, HttpClient } from './http.ts'
import type { JobCall, JobProgress, JobState, SecretText } from './platform.ts'

export interface ProviderSettings {
  /** URL from which all paths start. */
  address: string
  apiKey: SecretText
}

export interface JobClientOptions {
  /** Longest one request may take. */
  callTimeoutMs?: number
}

export interface ProviderRequest {
  method: 'GET' | 'POST'
  /** Starts with `/`, at the configured origin. */
  path: string
  headers?: readonly string[]
  body?: string
}

export interface JobClient {
  /** Scheme, host and port of the configured address. */
  readonly origin: string
  /** Path of the configured address, without a slash at its end. */
  readonly basePath: string
  readonly authorization: () => string[]
  /** One exchange, any status. `platform_timeout`: this request took too long, the job has time left. */
  send(request: ProviderRequest, call: Omit<JobCall, 'target'>): Promise<HttpAnswer>
  /** The error of an answer that is no success. */
  refusal(answer: HttpAnswer): ServiceError
  /** The path of a URL from an answer, if it is at the configured origin. */
  trustedPath(url: string | undefined): string | undefined
  /** A job's own error text, fit to be shown. */
  jobFailed(said: unknown): ServiceError
}

export function makeJobClient(
  http: HttpClient,
  { address, apiKey }: ProviderSettings,
  { callTimeoutMs = 30_000 }: JobClientOptions = {},
): JobClient {
  const { origin, host, hostname, pathname } = new URL(address)
  const hidden = [apiKey.reveal(), address, host, hostname]
  const authorization = () => {
    const key = apiKey.reveal()
    if (key === '') {
      throw new ServiceError('platform_credentials', 'no key is set for this platform', { legacyCode: 20007 })
    }
    return ['authorization', `Bearer ${key}`]
  }
  return {
    origin,
    basePath: pathname.replace(/\/+$/, ''),
    authorization,
    async send({ method, path, headers = [], body }, { signal, remainingMs }) {
      const exchange = {
        origin,
        method,
        path,
        headers: ['content-type', 'application/json', ...authorization(), ...headers],
        signal,
        timeoutMs: Math.min(callTimeoutMs, remainingMs),
      }
      try {
        return await http.send(body === undefined ? exchange : { ...exchange, body })
      } catch (error) {
        if (codeOf(error) !== 'prediction_timeout' || remainingMs <= callTimeoutMs) throw error
        throw new ServiceError('platform_timeout', 'the platform did not answer in time', {
          cause: error,
          legacyCode: 20000,
        })
      }
    },
    refusal: (answer) => statusError(answer, hidden),
    trustedPath(url) {
      if (url === undefined || !URL.canParse(url)) return undefined
      const given = new URL(url)
      const plain = given.origin === origin && given.username === '' && given.password === ''
      return plain ? given.pathname + given.search : undefined
    },
    jobFailed(said) {
      const text =
        typeof said === 'string' ? said : said === undefined || said === null ? '' : printJson(said)
      return new ServiceError(
        'platform_job_failed',
        cleanMessage(messageIn(text), hidden) || 'the job failed',
        {
          legacyCode: 20000,
        },
      )
    },
  }
}

/** The JSON object of a provider's answer, numbers digit for digit. */
export function providerObject(text: string): Record<string, unknown> {
  let value: unknown
  try {
    value = parseJson(text)
  } catch (cause) {
    throw unexpectedAnswer("the platform's answer is not JSON", cause)
  }
  if (!isJsonObject(value)) throw unexpectedAnswer("the platform's answer is not a JSON object")
  return value
}

export function textIn(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** `outputs` of a job; `runMs` undefined leaves the time to be measured. */
export function succeeded(output: unknown, runMs: number | undefined): JobState {
  const runningTime = runMs === undefined || runMs < 0 ? '' : secondsText(runMs)
  return { status: 'succeeded', outputs: printJson({ output }), runningTime }
}

const mostPartialOutput = 1_000_000
/** The end of longer logs counts. */
const mostLogs = 100_000

/** As a member of a `JobState`; nothing where the provider says nothing. */
export function progressIn(output: unknown, logs: unknown): { progress?: JobProgress } {
  const isEmpty = output === undefined || output === null || (Array.isArray(output) && output.length === 0)
  const printed = isEmpty ? '' : printJson(output)
  const progress: JobProgress = {
    ...(printed !== '' && printed.length <= mostPartialOutput && { output: printed }),
    ...(typeof logs === 'string' && logs !== '' && { logs: logs.slice(-mostLogs) }),
  }
  return Object.keys(progress).length === 0 ? {} : { progress }
}

export function outputMissing(): JobState {
  const message = 'the job succeeded, but the provider names no output'
  return {
    status: 'failed',
    error: new ServiceError('provider_output_missing', message, { legacyCode: 20005 }),
  }
}

export function resultExpired(): ServiceError {
  const message = 'the provider no longer keeps the result'
  return new ServiceError('provider_result_expired', message, { legacyCode: 20000 })
}

/** A status word this version does not know; shortened, since it may be anything. */
export function unknownWord(status: unknown): JobState {
  const word = typeof status === 'string' ? status : ''
  return { status: 'running', unknownWord: word.slice(0, 50) }
}

const deadlineMarginMs = 10_000

/** The provider ends the job by itself a little after we have given up, in case our cancel never arrives. */
export function providerDeadlineMs(timeoutMs: number, remainingMs: number, leastMs: number, mostMs: number) {
  return Math.min(mostMs, Math.max(leastMs, Math.min(timeoutMs, remainingMs) + deadlineMarginMs))
}
