/** Turns what a model yields into the text of a streamed answer: ndjson lines or SSE blocks (4.6, 7.4). */

export interface StreamFormat {
  readonly contentType: string
  value(value: unknown, index: number): string
  error(text: string): string
  /** Sent after `pingMs` of silence; left out = never. */
  readonly ping?: string
}

export interface Streaming {
  readonly values: AsyncIterator<unknown>
  /** Pulled before, so that an error before it has a status of its own. */
  readonly first: IteratorResult<unknown>
  readonly format: StreamFormat
  readonly signal: AbortSignal
  readonly pingMs: number
  /** Text of an error that comes after the first value. */
  fault(error: unknown): string
  /** Called once when the stream is closed, however it ended. */
  closed(values: unknown[], error: unknown): void
}

const silent = Symbol('nothing came for pingMs')

/** The pieces to send. Ends with the values, an error, or the signal; returns the model's iterator in each case. */
export async function* streamText(streaming: Streaming): AsyncGenerator<string> {
  const { values, format, signal, pingMs } = streaming
  const sent: unknown[] = []
  const aborted = new Promise<never>((_, reject) => {
    if (signal.aborted) reject(signal.reason)
    else signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
  aborted.catch(() => {}) // nobody listens between two values
  let failure: unknown
  try {
    let next = streaming.first
    for (let index = 0; !next.done; index++) {
      sent.push(next.value)
      yield format.value(next.value, index)
      const pulled = values.next()
      let came = await soonest(pulled, aborted, pingMs)
      while (came === silent) {
        if (format.ping !== undefined) yield format.ping
        came = await soonest(pulled, aborted, pingMs)
      }
      next = came
    }
  } catch (error) {
    failure = error
    if (!signal.aborted) yield format.error(streaming.fault(error))
  } finally {
    // Not awaited: a model that ignores the signal would hold the answer open.
    void Promise.resolve(values.return?.()).catch(() => {})
    streaming.closed(sent, failure)
  }
}

async function soonest<T>(
  pulled: Promise<T>,
  aborted: Promise<never>,
  ms: number,
): Promise<T | typeof silent> {
  let timer: NodeJS.Timeout | undefined
  const quiet = new Promise<typeof silent>((resolve) => {
    timer = setTimeout(resolve, ms, silent)
  })
  try {
    return await Promise.race([pulled, aborted, quiet])
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
