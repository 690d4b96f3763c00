/** Sends one HTTP request over a platform's keep-alive pool. Owns sockets, time limits and size caps; refuses retries and statuses. */
import { isUtf8 } from 'node:buffer'
import { Agent, type Dispatcher } from 'undici'
import { ServiceError } from '../contracts/errors.ts'

export interface HttpRequest {
  /** `http://host:port`, without a path. */
  origin: string
  method: 'GET' | 'POST'
  /** Starts with `/`, already percent-encoded. */
  path: string
  /** Names and values in turn; a `host` here wins over the origin's. */
  headers: readonly string[]
  body?: string
  /** Fires on cancel: the connection is closed. */
  signal: AbortSignal
  timeoutMs: number
}

export interface HttpAnswer {
  status: number
  headers: Readonly<Record<string, string | string[] | undefined>>
  /** The body as text; of an error answer at most the first 64 KiB. */
  text: string
}

export interface HttpClient {
  /**
   * One exchange, whatever its status. Throws `prediction_canceled`, `prediction_timeout`, `platform_unreachable`
   * (nothing was sent), `platform_connection_lost` (the request may have been read), `platform_bad_answer` or
   * `platform_answer_too_large`.
   */
  send(request: HttpRequest): Promise<HttpAnswer>
  /** For streamed answers; the caller owns the body. */
  readonly dispatcher: Dispatcher
  /** Idle connections close at once, running exchanges end first. */
  close(): Promise<void>
}

export interface HttpClientOptions {
  /** Longest answer that is read; a longer one is a bad answer. */
  maxAnswerBytes?: number
  /**
   * Below the shortest idle time that common servers grant (gunicorn 2 s, uvicorn and Node 5 s): a connection that
   * the server closes while a request is under way cannot be told from a lost call.
   */
  keepAliveMs?: number
  connectTimeoutMs?: number
}

const mebibyte = 1024 * 1024
/** Node fires longer timers at once. */
const longestTimerMs = 2 ** 31 - 1
const errorTextBytes = 64 * 1024

export function makeHttpClient({
  maxAnswerBytes = 64 * mebibyte,
  keepAliveMs = 1_500,
  connectTimeoutMs = 10_000,
}: HttpClientOptions = {}): HttpClient {
  const agent = new Agent({
    allowH2: false,
    connect: { timeout: connectTimeoutMs },
    keepAliveTimeout: keepAliveMs,
    keepAliveMaxTimeout: keepAliveMs,
    // Time is limited per attempt, by the exchange itself.
    headersTimeout: 0,
    bodyTimeout: 0,
  })
  return {
    dispatcher: agent,
    send: (request) =>
      new Promise((resolve, reject) => {
        new Exchange(request, maxAnswerBytes, resolve, reject).start(agent)
      }),
    close: () => agent.close(),
  }
}

export function canceled(): ServiceError {
  return new ServiceError('prediction_canceled', 'prediction was canceled')
}

export function timedOut(): ServiceError {
  return new ServiceError('prediction_timeout', 'predict timeout', { legacyCode: 20000 })
}

/** What a transport failure means; `sent` = the request may have reached the platform. */
export function transportFailure(cause: Error, sent: boolean, answering: boolean): ServiceError {
  if (answering) {
    const message = 'the connection to the platform was lost while it answered'
    return new ServiceError('platform_connection_lost', message, { cause, legacyCode: 20004 })
  }
  return sent
    ? new ServiceError('platform_connection_lost', 'the connection to the platform was lost', {
        cause,
        legacyCode: 20003,
      })
    : new ServiceError('platform_unreachable', 'the platform cannot be reached', { cause, legacyCode: 20003 })
}

class Exchange implements Dispatcher.DispatchHandler {
  readonly #request: HttpRequest
  readonly #maxBytes: number
  readonly #resolve: (answer: HttpAnswer) => void
  readonly #reject: (error: ServiceError) => void
  readonly #chunks: Buffer[] = []
  readonly #onAbort = () => this.#stop(canceled())
  #timer: NodeJS.Timeout | undefined
  #controller: Dispatcher.DispatchController | undefined
  #size = 0
  #status = 0
  #headers: HttpAnswer['headers'] = {}
  #settled = false

  constructor(
    request: HttpRequest,
    maxBytes: number,
    resolve: (answer: HttpAnswer) => void,
    reject: (error: ServiceError) => void,
  ) {
    this.#request = request
    this.#maxBytes = maxBytes
    this.#resolve = resolve
    this.#reject = reject
  }

  start(agent: Dispatcher): void {
    const { origin, method, path, headers, body, signal, timeoutMs } = this.#request
    if (signal.aborted) {
      this.#stop(canceled())
      return
    }
    if (timeoutMs <= 0) {
      this.#stop(timedOut())
      return
    }
    signal.addEventListener('abort', this.#onAbort, { once: true })
    this.#timer = setTimeout(() => this.#stop(timedOut()), Math.min(timeoutMs, longestTimerMs))
    try {
      agent.dispatch({ origin, method, path, headers: headers as string[], body: body ?? null }, this)
    } catch (cause) {
      this.#stop(new ServiceError('internal', 'the request cannot be built', { cause, legacyCode: 20002 }))
    }
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    // Given up while the connection was being made: nothing of the request leaves.
    if (this.#settled) controller.abort(new Error('given up'))
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: HttpAnswer['headers']): void {
    if (status < 200) return
    this.#status = status
    this.#headers = headers
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#settled) return
    this.#chunks.push(chunk)
    this.#size += chunk.length
    if (this.#status >= 400) {
      if (this.#size <= errorTextBytes) return
      this.#finish()
      this.#controller?.abort(new Error('enough of an error'))
    } else if (this.#size > this.#maxBytes) {
      this.#stop(tooLarge(this.#maxBytes))
    }
  }

  onResponseEnd(): void {
    this.#finish()
  }

  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    if (!this.#settled) {
      this.#fail(transportFailure(error, this.#controller !== undefined, this.#status !== 0))
    }
  }

  #finish(): void {
    if (this.#settled) return
    const body = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks)
    if (!isUtf8(body) && this.#status < 400) {
      this.#fail(badAnswer("the platform's answer is not UTF-8 text"))
      return
    }
    const text =
      this.#status < 400
        ? body.toString('utf8')
        : body.toString('utf8', 0, Math.min(body.length, errorTextBytes))
    this.#settle()
    this.#resolve({ status: this.#status, headers: this.#headers, text })
  }

  /** Fails and closes the connection. */
  #stop(error: ServiceError): void {
    if (this.#settled) return
    this.#fail(error)
    this.#controller?.abort(error)
  }

  #fail(error: ServiceError): void {
    this.#settle()
    this.#reject(error)
  }

  #settle(): void {
    this.#settled = true
    clearTimeout(this.#timer)
    this.#request.signal.removeEventListener('abort', this.#onAbort)
  }
}

function tooLarge(maxBytes: number): ServiceError {
  const message = `the platform's answer is larger than ${maxBytes} bytes`
  return new ServiceError('platform_answer_too_large', message, { legacyCode: 20004 })
}

function badAnswer(message: string): ServiceError {
  return new ServiceError('platform_bad_answer', message, { legacyCode: 20004 })
}
