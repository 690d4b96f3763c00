/** KServe's V1 protocol over the models of a server (specification, 4.6). Owns its paths, bodies and streams. */

import { HttpError, InvalidInput } from './errors.ts'
import { isPlainObject, type ModelEvent } from './event.ts'
import { faultReply, jsonMessage, ModelMissing, ModelNotReady } from './faults.ts'
import { toObject } from './format.ts'
import { beginGeneration, streamReply } from './generate.ts'
import type { ModelHost } from './host.ts'
import { type Incoming, toEvent } from './incoming.ts'
import { answer, type Hook, type Streamed } from './inference.ts'
import { header } from './messages/headers.ts'
import { decode } from './model-path.ts'
import { counted } from './operations.ts'
import { jsonReply, jsonText, Reply } from './reply.ts'
import type { RouteTable } from './routes.ts'
import type { ServerServices } from './settings.ts'
import { abortable, type StreamFormat, sseBlock, streamText } from './stream.ts'

type Answer = () => Promise<Reply> | Reply

const prefix = '/v1/models'

export class KServeV1 {
  readonly #routes: RouteTable
  readonly #services: ServerServices
  readonly #gets: boolean

  /** `gets`: whether the GET paths are V1's; a router with the prefix `/v1/models` keeps them. */
  constructor(routes: RouteTable, services: ServerServices, gets: boolean) {
    this.#routes = routes
    this.#services = services
    this.#gets = gets
  }

  get(path: string): Answer | undefined {
    if (!this.#gets || !path.startsWith(prefix)) return undefined
    const rest = path.slice(prefix.length)
    if (rest === '' || rest === '/') return () => jsonReply({ models: this.#routes.keys() })
    if (!rest.startsWith('/') || rest.includes('/', 1)) return undefined
    return () =>
      this.#guarded(() => {
        const { name } = this.#ready(decode(rest.slice(1)))
        return jsonReply({ name, ready: true })
      })
  }

  post(path: string, incoming: Incoming): Answer | undefined {
    const rest = path.slice(prefix.length + 1)
    const colon = rest.lastIndexOf(':')
    const verb = rest.slice(colon + 1)
    if (colon < 1 || rest.includes('/')) return undefined
    const key = decode(rest.slice(0, colon))
    if (verb === 'predict' || verb === 'explain') return () => this.#call(key, verb, incoming)
    return verb === 'generate' ? () => this.#generate(key, incoming) : undefined
  }

  #call(key: string, hook: Hook, incoming: Incoming): Promise<Reply> {
    return this.#guarded(() => {
      const host = this.#ready(key)
      if (host.protocol === 'oip')
        throw new HttpError(501, `${hook} is not implemented for model ${host.name}`)
      return counted(host, hook, 'v1', async () => {
        const event = readEvent(incoming)
        const answered = await answer(host, event, { op: hook, hook, protocol: 'v1' })
        if ('stream' in answered) return this.#stream(host, answered, formatFor(event))
        const { envelope } = answered
        const outputs = isPlainObject(envelope) ? envelope.outputs : envelope
        if (isPlainObject(outputs)) return jsonReply(outputs)
        return jsonReply({ [hook === 'predict' ? 'predictions' : 'explanations']: outputs })
      })
    })
  }

  #generate(key: string, incoming: Incoming): Promise<Reply> {
    return this.#guarded(() => {
      const host = this.#ready(key)
      return counted(host, 'generate', 'v1', async () => {
        const event = toEvent(incoming, { defaultContentType: '', eventPathHeader: false })
        const generation = await beginGeneration(host, event, toObject(event), 'generate', 'v1')
        return streamReply(host, generation, formatFor(event))
      })
    })
  }

  async #stream(host: ModelHost, streamed: Streamed, format: StreamFormat): Promise<Reply> {
    const { stream, ctx, closed } = streamed
    const { pingMs } = this.#services
    try {
      const values = abortable(stream, ctx.signal, host.queue)
      const first = await values.next()
      const body = streamText({ values, first, format, pingMs, fault: jsonMessage, closed })
      return new Reply(200, format.contentType, body, { 'cache-control': 'no-cache' })
    } catch (error) {
      closed([], error)
      throw error
    }
  }

  #ready(key: string): ModelHost {
    const host = this.#routes.find(key)?.host
    if (host === undefined) throw new ModelMissing(key, this.#routes.keys())
    if (!host.isReady) throw new ModelNotReady(host.name)
    return host
  }

  async #guarded(work: () => Promise<Reply> | Reply): Promise<Reply> {
    try {
      return await work()
    } catch (error) {
      return faultReply(error, 'json')
    }
  }
}

/** The body with `instances` handed over as `inputs` too. */
function readEvent(incoming: Incoming): ModelEvent {
  const event = toEvent(incoming, { defaultContentType: '', eventPathHeader: false })
  const body = toObject(event)
  const { instances } = body
  if (instances !== undefined && !Array.isArray(instances)) {
    throw new InvalidInput('Expected "instances" to be a list')
  }
  event.body = instances === undefined || body.inputs !== undefined ? body : { ...body, inputs: instances }
  return event
}

function formatFor(event: ModelEvent): StreamFormat {
  return header(event.headers, 'accept')?.includes('text/event-stream') ? serverSentEvents : jsonLines
}

const jsonLines: StreamFormat = {
  contentType: 'application/x-ndjson',
  value: (value, index) => `${jsonText({ id: index, data: value })}\n`,
  error: (text) => `${JSON.stringify({ error: text })}\n`,
}

const serverSentEvents: StreamFormat = {
  contentType: 'text/event-stream',
  value: (value) => sseBlock(typeof value === 'string' ? value : jsonText(value)),
  error: (text) => sseBlock(JSON.stringify({ error: text })),
  ping: ': ping\n\n',
}
