/** Opens an HTTP answer that is read while it arrives. Owns its time limit and its closing; refuses to interpret it. */
import {
  canceled,
  type HttpAnswer,
  type HttpClient,
  type HttpRequest,
  timedOut,
  transportFailure,
} from './http.ts'

export interface HttpStream {
  status: number
  headers: HttpAnswer['headers']
  /** The body as text, in pieces as they come. Leaving the loop early closes the connection. */
  text(): AsyncIterable<string>
  /** The whole of a small body, for error answers: at most 64 KiB, then the connection is closed. */
  answer(): Promise<HttpAnswer>
}

const errorTextLength = 64 * 1024

/** Throws what `HttpClient.send` throws. `timeoutMs` limits the stream from the request to its end. */
export async function openStream(http: HttpClient, request: HttpRequest): Promise<HttpStream> {
  const { origin, method, path, headers, body } = request
  if (request.signal.aborted) throw canceled()
  if (request.timeoutMs <= 0) throw timedOut()
  const limit = AbortSignal.timeout(Math.min(Math.ceil(request.timeoutMs), 2 ** 31 - 1))
  const signal = AbortSignal.any([request.signal, limit])

  const failure = (cause: unknown, answering: boolean) => {
    if (request.signal.aborted) return canceled()
    if (limit.aborted) return timedOut()
    const error = cause instanceof Error ? cause : new Error(String(cause))
    return transportFailure(error, !isBeforeSending(error), answering)
  }

  const response = await http.dispatcher
    .request({ origin, method, path, headers: headers as string[], body: body ?? null, signal })
    .catch((cause: unknown) => {
      throw failure(cause, false)
    })

  async function* text() {
    const decoder = new TextDecoder()
    try {
      for await (const chunk of response.body) {
        const piece = decoder.decode(chunk, { stream: true })
        if (piece !== '') yield piece
      }
    } catch (cause) {
      throw failure(cause, true)
    }
  }

  return {
    status: response.statusCode,
    headers: response.headers,
    text,
    async answer() {
      let whole = ''
      for await (const piece of text()) {
        whole += piece
        if (whole.length > errorTextLength) break
      }
      return { status: response.statusCode, headers: response.headers, text: whole.slice(0, errorTextLength) }
    },
  }
}

const connectionCodes =
  /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|UND_ERR_CONNECT_TIMEOUT)$|TLS|CERT/

function isBeforeSending(error: Error & { code?: unknown }): boolean {
  return typeof error.code === 'string' && connectionCodes.test(error.code)
}
