/** Streamed answers of the platforms that answer on the request. Owns pieces and failures in the middle; knows no path. */
import { ServiceError } from '../contracts/errors.ts'
import { isJsonObject, parseJson, printJson } from '../contracts/json.ts'
import { unexpectedAnswer } from '../protocols/answer.ts'
import { readEvents } from '../protocols/event-stream.ts'
import { readObjects } from '../protocols/json-sequence.ts'
import { cleanMessage, messageIn, statusError } from './answers.ts'
import { hiddenIn, originOf } from './call.ts'
import type { HttpClient } from './http.ts'
import { type HttpStream, openStream } from './http-stream.ts'
import type { CallRequest, ModelTarget, StreamPiece } from './platform.ts'

interface StreamExchange {
  path: string
  headers: readonly string[]
  body: string
  busyStatuses?: readonly number[]
}

/** Objects `{"id":int,"data":…}` in sequence: KServe V1. */
export async function* streamObjects(
  http: HttpClient,
  request: CallRequest,
  exchange: StreamExchange,
): AsyncGenerator<StreamPiece> {
  const stream = await begin(http, request, exchange)
  for await (const object of readObjects(stream.text())) yield* pieceOf(object, 'data', request.target)
}

/** SSE blocks `{"text_output":…}`: `generate_stream` of V2 servers. */
export async function* streamTextOutputs(
  http: HttpClient,
  request: CallRequest,
  exchange: StreamExchange,
): AsyncGenerator<StreamPiece> {
  const stream = await begin(http, request, exchange)
  for await (const { data } of readEvents(stream.text())) {
    if (data.trimStart().startsWith('{')) yield* pieceOf(data, 'text_output', request.target)
  }
}

async function begin(http: HttpClient, request: CallRequest, exchange: StreamExchange): Promise<HttpStream> {
  const { target, signal, remainingMs } = request
  const stream = await openStream(http, {
    origin: originOf(target.address),
    method: 'POST',
    path: exchange.path,
    headers: exchange.headers,
    body: exchange.body,
    signal,
    timeoutMs: Math.min(target.timeoutMs, remainingMs),
  })
  if (stream.status !== 200) {
    throw statusError(await stream.answer(), hiddenIn(target), exchange.busyStatuses)
  }
  return stream
}

/** A value that is no text goes on as its JSON text; an object with `error` and no value is a failure. */
function* pieceOf(text: string, member: string, target: ModelTarget): Generator<StreamPiece> {
  let object: unknown
  try {
    object = parseJson(text)
  } catch (cause) {
    throw unexpectedAnswer("the platform's stream is not JSON", cause)
  }
  if (!isJsonObject(object)) return
  const value = object[member]
  if (value !== undefined && value !== null)
    yield { data: typeof value === 'string' ? value : printJson(value) }
  else if (object.error !== undefined && object.error !== null) {
    const message = cleanMessage(messageIn(text), hiddenIn(target)) || 'the stream failed'
    throw new ServiceError('platform_error', message, { legacyCode: 20007 })
  }
}
