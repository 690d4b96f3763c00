/**
 * Jobs on Replicate: create, poll, cancel, stream. Owns its wire (https://replicate.com/docs/reference/http); refuses
 * retries, pauses and records. The official client is not used: it repeats requests and follows addresses by itself.
 */
import { ServiceError } from '../contracts/errors.ts'
import { isJsonObject, numberIn } from '../contracts/json.ts'
import { unexpectedAnswer } from '../protocols/answer.ts'
import { callHeaders, requireSegment } from './call.ts'
import type { HttpAnswer, HttpClient } from './http.ts'
import { openStream } from './http-stream.ts'
import {
  type JobClientOptions,
  makeJobClient,
  outputMissing,
  type ProviderSettings,
  progressIn,
  providerDeadlineMs,
  providerObject,
  resultExpired,
  succeeded,
  textIn,
  unknownWord,
} from './job-client.ts'
import type { CreatedJob, JobHandle, JobHints, JobPlatform, JobState } from './platform.ts'
import { readJobStream } from './replicate-stream.ts'

export interface ReplicateOptions extends JobClientOptions {
  /** Hosts beside the configured one that may be given the key for a stream; https only. */
  streamHosts?: readonly string[]
}

const day = 24 * 3_600_000

export function makeReplicate(
  http: HttpClient,
  settings: ProviderSettings,
  { streamHosts = ['stream.replicate.com'], ...options }: ReplicateOptions = {},
): JobPlatform {
  const client = makeJobClient(http, settings, options)
  const createPath = client.basePath
  // `/v1/models/{owner}/{name}/predictions` names the model itself.
  const namesModel = /\/(models|deployments)\/[^/]+\/[^/]+\/predictions$/.test(createPath)
  const base = createPath.replace(/\/(models|deployments)\/.*$|\/predictions$/, '')
  const pathOf = (jobId: string) => `${base}/predictions/${encodeURIComponent(requireSegment(jobId))}`

  function hintsIn(prediction: Record<string, unknown>): JobHints {
    const urls = isJsonObject(prediction.urls) ? prediction.urls : {}
    const hints: JobHints = {}
    const [get, cancel, stream] = [textIn(urls.get), textIn(urls.cancel), textIn(urls.stream)]
    if (get !== undefined && client.trustedPath(get)) hints.get = get
    if (cancel !== undefined && client.trustedPath(cancel)) hints.cancel = cancel
    if (stream !== undefined && isStreamAddress(stream)) hints.stream = stream
    return hints
  }

  function isStreamAddress(url: string): boolean {
    if (client.trustedPath(url) !== undefined) return true
    if (!URL.canParse(url)) return false
    const { protocol, host, username, password } = new URL(url)
    return protocol === 'https:' && streamHosts.includes(host) && username === '' && password === ''
  }

  function stateOf(prediction: Record<string, unknown>): JobState {
    const { status, output, logs } = prediction
    return { ...phaseOf(prediction), ...progressIn(status === 'succeeded' ? undefined : output, logs) }
  }

  function phaseOf(prediction: Record<string, unknown>): JobState {
    const { status, output, error, metrics, data_removed } = prediction
    switch (status) {
      case 'starting':
        return { status: 'queued' }
      case 'processing':
        return { status: 'running' }
      case 'succeeded': {
        if ((output === undefined || output === null) && data_removed === true) {
          return { status: 'failed', error: resultExpired() }
        }
        if (output === undefined) return outputMissing()
        const seconds = isJsonObject(metrics) ? numberIn(metrics.predict_time) : undefined
        return succeeded(output, seconds === undefined ? undefined : seconds * 1000)
      }
      case 'failed':
        return { status: 'failed', error: client.jobFailed(error) }
      case 'canceled':
      case 'aborted':
        return { status: 'canceled', aborted: status === 'aborted' }
      default:
        return unknownWord(status)
    }
  }

  function refusal(answer: HttpAnswer): ServiceError {
    const error = client.refusal(answer)
    const { code, message, retryAfterMs = throttledMs(answer) } = error
    if (answer.status !== 429 || retryAfterMs === undefined) return error
    return new ServiceError(code, message, { upstreamStatus: 429, legacyCode: 20007, retryAfterMs })
  }

  return {
    name: 'replicate',
    lane: 'job',
    async createJob(request): Promise<CreatedJob> {
      const { target, inputs, remainingMs } = request
      const deadlineMs = providerDeadlineMs(target.timeoutMs, remainingMs, 5_000, day)
      const version = namesModel ? '' : `"version":${JSON.stringify(target.upstreamName)},`
      const answer = await client.send(
        {
          method: 'POST',
          path: createPath,
          headers: [...callHeaders(request).slice(2), 'cancel-after', `${Math.ceil(deadlineMs / 1000)}s`],
          body: `{${version}"input":${inputs}}`,
        },
        request,
      )
      if (answer.status < 200 || answer.status > 202) throw refusal(answer)
      const prediction = providerObject(answer.text)
      const hints = hintsIn(prediction)
      const jobId = textIn(prediction.id) ?? client.trustedPath(hints.get)?.split('/').at(-1)
      if (!jobId) throw unexpectedAnswer('the platform created a job without naming it')
      return { jobId, hints, state: stateOf(prediction) }
    },
    async pollJob({ jobId, hints }, call) {
      const path = client.trustedPath(hints.get) ?? pathOf(jobId)
      const answer = await client.send({ method: 'GET', path }, call)
      if (answer.status === 404 || answer.status === 410) throw resultExpired()
      if (answer.status !== 200) throw refusal(answer)
      return stateOf(providerObject(answer.text))
    },
    async cancelJob({ jobId, hints }, call) {
      const path = client.trustedPath(hints.cancel) ?? `${pathOf(jobId)}/cancel`
      const answer = await client.send({ method: 'POST', path }, call)
      if (!hasHeard(answer.status)) throw refusal(answer)
    },
    async *streamJob({ hints }: JobHandle, call) {
      const url = hints.stream
      if (url === undefined || !isStreamAddress(url)) {
        throw new ServiceError('platform_unsupported', 'the model has no stream', { legacyCode: 20006 })
      }
      const { origin, pathname, search } = new URL(url)
      const { signal, remainingMs, target } = call
      const endMs = performance.now() + Math.min(target.timeoutMs, remainingMs)
      yield* readJobStream({
        async open(lastEventId) {
          const stream = await openStream(http, {
            origin,
            method: 'GET',
            path: pathname + search,
            headers: [
              ...['accept', 'text/event-stream', ...client.authorization()],
              ...(lastEventId === undefined ? [] : ['last-event-id', lastEventId]),
            ],
            signal,
            timeoutMs: endMs - performance.now(),
          })
          if (stream.status !== 200) throw refusal(await stream.answer())
          return stream
        },
        jobFailed: client.jobFailed,
        signal,
      })
    },
    docs: async () => '""',
    close: () => http.close(),
  }
}

/** Whether a cancel has arrived: also when the job is over, unknown, or cannot be canceled any more. */
export function hasHeard(status: number): boolean {
  return status < 300 || (status >= 400 && status < 500 && ![401, 403, 408, 429].includes(status))
}

/** Replicate says how long in words: "Your rate limit resets in ~30s." */
function throttledMs({ text }: HttpAnswer): number | undefined {
  const seconds = /resets in ~?(\d{1,5})\s*s/.exec(text)?.[1]
  return seconds === undefined ? undefined : Number(seconds) * 1000
}
