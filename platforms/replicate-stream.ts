/**
 * The event stream of a Replicate job (https://replicate.com/docs/topics/predictions/streaming): what each event means,
 * and going on where a connection broke off. Owns no address and no key; asks nothing of the job itself.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { ServiceError } from '../contracts/errors.ts'
import { isFinalPoll } from '../contracts/jobs.ts'
import { unexpectedAnswer } from '../protocols/answer.ts'
import { readEvents } from '../protocols/event-stream.ts'
import { messageIn } from './answers.ts'
import { canceled } from './http.ts'
import type { HttpStream } from './http-stream.ts'
import { providerObject } from './job-client.ts'
import type { StreamPiece } from './platform.ts'

export interface JobStreamSource {
  /** One connection, from behind the event of that id on; throws for an answer other than 200. */
  open(lastEventId: string | undefined): Promise<HttpStream>
  /** The job's own error text, fit to be shown. */
  jobFailed(said: unknown): ServiceError
  signal: AbortSignal
}

/** Connections in a row that may break off without having brought anything new. */
const mostBroken = 5
const firstPauseMs = 100
const longestPauseMs = 2_000

/** Throws what ended the job unless it succeeded, or why the stream cannot be read on. */
export async function* readJobStream(source: JobStreamSource): AsyncGenerator<StreamPiece> {
  const seen = new Set<string>()
  let lastId: string | undefined
  for (let broken = 0; ; ) {
    let reason: unknown = new ServiceError('platform_connection_lost', 'the stream ended early', {
      legacyCode: 20004,
    })
    try {
      for await (const { event, data, id } of readEvents(textOf(await source.open(lastId)))) {
        // A server that does not resume begins again: what is known is not given twice.
        if (id !== undefined && seen.has(id)) continue
        if (id !== undefined) seen.add(id)
        lastId = id ?? lastId
        broken = 0
        if (event === 'error') throw source.jobFailed(messageIn(data))
        if (event === 'done') return over(data, source)
        if (event === 'output') yield { data }
      }
    } catch (error) {
      if (isFinalPoll(error)) throw error
      reason = error
    }
    broken++
    if (broken > mostBroken) throw reason
    await pauseBefore(broken, reason, source.signal)
  }
}

function textOf(stream: HttpStream): AsyncIterable<string> {
  if (/^text\/event-stream/i.test(String(stream.headers['content-type'] ?? ''))) return stream.text()
  // Reading it to nobody would leave the connection open.
  void stream.answer().catch(() => undefined)
  throw unexpectedAnswer("the platform's stream is not an event stream")
}

function over(data: string, { jobFailed }: JobStreamSource): void {
  const { reason } = data.startsWith('{') ? providerObject(data) : {}
  if (reason === 'canceled') throw canceled()
  if (reason === 'error') throw jobFailed(undefined)
}

async function pauseBefore(broken: number, reason: unknown, signal: AbortSignal): Promise<void> {
  const asked = reason instanceof ServiceError ? reason.retryAfterMs : undefined
  const ms = asked ?? Math.min(longestPauseMs, firstPauseMs * 2 ** (broken - 1))
  await delay(ms, undefined, { signal }).catch(() => {
    throw canceled()
  })
}
