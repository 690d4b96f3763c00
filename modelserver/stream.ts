/** Turns what a model yields into the text of a streamed answer: ndjson lines or SSE blocks (4.6, 7.4). */

import { untilAborted } from './abort.ts'
import { TimeLimitError } from './errors.ts'

export interface StreamFormat {
  readonly contentType: string
  value(value: unknown, index: number): string
  error(text: string): string
  /** Sent after `pingMs` of silence; left out = never. */
  readonly ping?: string
}

export interface Streaming {
  /** Rejects on abort, as `abortable` makes it. */
  readonly values: AsyncIterator<unknown>
  /** Pulled before, so that an error before it has a status of its own. */
  readonly first: IteratorResult<unknown>
  readonly format: StreamFormat
  readonly pingMs: number
  /** Text of an error that comes after the first value. */
  fault(error: unknown): string
  /** Called once when the stream is closed, however it ended. */
  closed(values: unknown[], error: unknown): void
}

/** Is told of a value that a model still works on when its time is up. */
export interface LateWatch {
  watchOverdue(work: Promise<unknown>): void
}

/** A model's values, until the signal aborts: then the waiting rejects with its reason and the model's iterator is returned. */
export function abortable<T>(
  values: AsyncIterable<T>,
  signal: AbortSignal,
  late: LateWatch,
): AsyncIterator<T, unknown, undefined> {
  const iterator = values[Symbol.asyncIterator]()
  // Not awaited: a model that ignores the signal would hold the answer open.
  const leave = () => void Promise.resolve(iterator.return?.()).catch(() => {})
  return {
    async next() {
      const pulled = iterator.next()
      try {
        return await untilAborted(pulled, signal)
      } catch (error) {
        if (signal.aborted) leave()
        if (signal.reason instanceof TimeLimitError) late.watchOverdue(pulled)
        throw error
      }
    },
    async return() {
      leave()
      return { done: true, value: undefined }
    },
  }
}

const silent = Symbol('nothing came for pingMs')

/** The pieces to send. Ends with the values or an error; returns the iterator in each case. */
export async function* streamText(streaming: Streaming): AsyncGenerator<string> {
  const { values, format, pingMs } = streaming
  const sent: unknown[] = []
  let failure: unknown
  try {
    let next = streaming.first
    for (let index = 0; !next.done; index++) {
      sent.push(next.value)
      yield format.value(next.value, index)
      const pulled = values.next()
      let came = await soonest(pulled, pingMs)
      while (came === silent) {
        if (format.ping !== undefined) yield format.ping
        came = await soonest(pulled, pingMs)
      }
      next = came
    }
  } catch (error) {
    failure = error
    yield format.error(streaming.fault(error))
  } finally {
    await values.return?.()
    streaming.closed(sent, failure)
  }
}

async function soonest<T>(pulled: Promise<T>, ms: number): Promise<T | typeof silent> {
  let timer: NodeJS.Timeout | undefined
  const quiet = new Promise<typeof silent>((resolve) => {
    timer = setTimeout(resolve, ms, silent)
  })
  try {
    return await Promise.race([pulled, quiet])
  } finally {
    clearTimeout(timer)
  }
}

/** `text/event-stream`: one `data:` field per line of the text, a blank line behind. */
export function sseBlock(text: string): string {
  return `${text
    .split(/\r\n|\r|\n/)
    .map((line) => `data: ${line}\n`)
    .join('')}\n`
}
