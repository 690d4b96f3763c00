/** A client of the inherited routes over fetch: requests, their outcomes, and waiting. Numbers stay digit for digit. */
import type { ModelList } from './http.ts'
import { isJsonObject, parseJson, printJson } from './json.ts'
import type { TaskRecord } from './predictions.ts'
import { isTerminal, type PredictionStatus } from './statuses.ts'

export interface ClientOptions {
  /** `http://127.0.0.1:8000`. */
  baseUrl: string
  /** Sent with every request, e.g. `authorization`. */
  headers?: Readonly<Record<string, string>>
}

export interface RequestOptions {
  /** Header `Idempotency-Key`: repeating the request makes no second prediction. */
  idempotencyKey?: string
  /** 1 (first) to 5. */
  priority?: number
  /** Header `UID`: whom the prediction is for. */
  uid?: string
  signal?: AbortSignal
}

export interface WaitOptions {
  /** Longest wait in milliseconds; absent = no end. */
  timeoutMs?: number
  /** Called after every look. */
  onLook?: (record: TaskRecord) => void
  signal?: AbortSignal
}

/** An answer other than 2xx. `code` is one of the error codes, `status` the HTTP status. */
export class ApiError extends Error {
  readonly status: number
  readonly code: string
  readonly body: unknown

  constructor(status: number, code: string, message: string, body: unknown) {
    super(message)
    this.name = 'ApiError'
    this.status = status
    this.code = code
    this.body = body
  }
}

export interface Client {
  /** Accepts a prediction and returns its id at once. */
  submit(model: string, inputs: unknown, options?: RequestOptions): Promise<{ id: string }>
  /** Predicts on the request itself. Throws `ApiError` if the prediction did not succeed. */
  predict(model: string, inputs: unknown, options?: RequestOptions): Promise<TaskRecord>
  /** Pieces of text as the model makes them. Throws `ApiError`; its `status` is 0 when the stream itself broke. */
  generate(model: string, inputs: unknown, options?: RequestOptions): AsyncIterable<string>
  task(id: string, signal?: AbortSignal): Promise<TaskRecord>
  /** Looks until the record is terminal, or as it is when the time is over. */
  wait(id: string, options?: WaitOptions): Promise<TaskRecord>
  cancel(id: string): Promise<{ id: string }>
  models(): Promise<ModelList>
}

const firstLookMs = 50
const longestPauseMs = 1_000

/** One request: JSON in, JSON out. Throws `ApiError` for an answer other than 2xx. */
export type Send = <T>(method: string, path: string, body?: unknown, options?: RequestOptions) => Promise<T>

export function makeSend(options: ClientOptions): Send {
  const ask = makeAsk(options)
  return async function send<T>(
    method: string,
    path: string,
    body?: unknown,
    more?: RequestOptions,
  ): Promise<T> {
    const response = await ask(method, path, body, more)
    return parseJson(await response.text()) as T
  }
}

/** One request; an answer other than 2xx is thrown. */
function makeAsk({ baseUrl, headers = {} }: ClientOptions) {
  const base = baseUrl.replace(/\/+$/, '')

  return async function ask(
    method: string,
    path: string,
    body?: unknown,
    options: RequestOptions = {},
    accept = 'application/json',
  ): Promise<Response> {
    const { idempotencyKey, priority, uid, signal } = options
    const response = await fetch(base + path, {
      method,
      headers: {
        accept,
        ...headers,
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...(idempotencyKey !== undefined && { 'idempotency-key': idempotencyKey }),
        ...(priority !== undefined && { 'perdure-priority': String(priority) }),
        ...(uid !== undefined && { uid }),
      },
      ...(body !== undefined && { body: printJson(body) }),
      ...(signal !== undefined && { signal }),
    })
    if (response.ok) return response
    throw errorOf(response.status, await response.text())
  }
}

export function makeClient(options: ClientOptions): Client {
  const send = makeSend(options)
  const ask = makeAsk(options)
  const client: Client = {
    submit: (model, inputs, options) =>
      send('POST', '/async/v1/predict', { model_name: model, inputs }, options),
    predict: (model, inputs, options) => send('POST', '/v1/predict', { model_name: model, inputs }, options),
    task: (id, signal) =>
      send('GET', `/task/${encodeURIComponent(id)}`, undefined, signal === undefined ? {} : { signal }),
    cancel: (id) => send('POST', `/cancel/${encodeURIComponent(id)}`),
    models: () => send('GET', '/v1/models'),

    async *generate(model, inputs, more) {
      const body = { model_name: model, inputs }
      const response = await ask('POST', '/v1/generate', body, more, 'application/x-ndjson')
      let rest = ''
      for await (const text of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
        const lines = (rest + text).split('\n')
        rest = lines.pop() ?? ''
        for (const line of lines) {
          const piece = parseJson(line)
          if (!isJsonObject(piece)) continue
          if (typeof piece.error === 'string') throw new ApiError(0, '', piece.error, piece)
          if (typeof piece.data === 'string') yield piece.data
        }
      }
    },

    async wait(id, { timeoutMs = Number.POSITIVE_INFINITY, onLook, signal } = {}) {
      const until = performance.now() + timeoutMs
      for (let pauseMs = firstLookMs; ; pauseMs = Math.min(longestPauseMs, pauseMs * 1.5)) {
        const record = await client.task(id, signal)
        onLook?.(record)
        const leftMs = until - performance.now()
        if (isTerminal(record.status as PredictionStatus) || leftMs <= 0) return record
        await new Promise((resolve) => setTimeout(resolve, Math.min(pauseMs, leftMs)))
      }
    },
  }
  return client
}

function errorOf(status: number, text: string): ApiError {
  let body: unknown = text
  try {
    body = parseJson(text)
  } catch {
    // A proxy's page: its status is all that can be told.
  }
  const { error, detail, code } = isJsonObject(body) ? body : {}
  const message = typeof error === 'string' ? error : typeof detail === 'string' ? detail : `HTTP ${status}`
  return new ApiError(status, typeof code === 'string' ? code : '', message, body)
}
