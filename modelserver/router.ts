/** The router: one request's way from a URL to a route and back (3.3). Owns prefixes and body rules; refuses HTTP. */

import { extract, parseBodyPath } from './body-path.ts'
import { ValueError } from './errors.ts'
import { isPlainObject, type ModelEvent } from './event.ts'
import { IllegalPath, ModelMissing } from './faults.ts'
import { readBody } from './fetch.ts'
import { toObject } from './format.ts'
import type { Awaitable, Protocol } from './model.ts'
import { modelPath } from './model-path.ts'
import { isBinary } from './oip.ts'
import { placeResult } from './reply.ts'
import type { Route, RouteTable } from './routes.ts'
import type { HostServices } from './settings.ts'

export interface RouterOptions {
  /** Default `v2`; names the default prefixes. */
  protocol?: Protocol
  /** Default `/<protocol>/models`. A plain string prefix. */
  urlPrefix?: string
  /** Default `/<protocol>/health`. */
  healthPrefix?: string
  inputPath?: string
  resultPath?: string
  /** Whether bodies may name this URL as `data_url`, whose content then becomes the input. Default: none. */
  dataUrlAllow?: (url: string) => boolean
}

/** A request's target: a route with the operation asked for, or the list of models. */
export interface Target {
  readonly route: Route | undefined
  readonly key: string
  readonly op: string
}

export class ModelRouter {
  readonly urlPrefix: string
  readonly healthPrefix: string
  readonly #inputPath: readonly string[] | undefined
  readonly #resultPath: readonly string[] | undefined
  readonly #dataUrlAllow: ((url: string) => boolean) | undefined
  #routes: RouteTable | undefined
  #services: HostServices | undefined

  constructor(options: RouterOptions = {}) {
    const { protocol = 'v2' } = options
    this.urlPrefix = options.urlPrefix ?? `/${protocol}/models`
    this.healthPrefix = options.healthPrefix ?? `/${protocol}/health`
    this.#inputPath = parseBodyPath(options.inputPath)
    this.#resultPath = parseBodyPath(options.resultPath)
    this.#dataUrlAllow = options.dataUrlAllow
  }

  /** Called by the server once, before the models load. Throws for routes the router cannot serve. */
  attach(routes: RouteTable, services: HostServices): void {
    this.#routes = routes
    this.#services = services
  }

  /** Whether the models are children of one vote, as their endpoint records say. */
  get hasChildren(): boolean {
    return false
  }

  /** Called after the models have loaded (sync) or have begun to (async). */
  started(): Awaitable<void> {}

  /** Called when the server has drained. */
  stopped(): Awaitable<void> {}

  protected get routes(): RouteTable {
    if (this.#routes === undefined) throw new ValueError('the router belongs to no server yet')
    return this.#routes
  }

  protected get services(): HostServices {
    if (this.#services === undefined) throw new ValueError('the router belongs to no server yet')
    return this.#services
  }

  /** First hook: may change or replace the event. */
  preprocess(event: ModelEvent): Awaitable<ModelEvent> {
    return event
  }

  /** Last hook: `event.body` is the result before it is rendered. */
  postprocess(event: ModelEvent): Awaitable<ModelEvent> {
    return event
  }

  /** Whether the URL prefix and body rules let this event's body through as bytes: only the tensor codec reads them. */
  keepsBytes(event: ModelEvent): boolean {
    if (this.#inputPath !== undefined || this.#resultPath !== undefined) return false
    if (!event.path.startsWith(this.urlPrefix)) return false
    const { key, op } = modelPath(event.path.slice(this.urlPrefix.length))
    const route = this.routes.find(key)
    // Where there is no model, the answer is that, not that its tensors are no JSON.
    if ((route?.protocol ?? this.services.protocol) !== 'oip') return false
    if (isBinary(event)) return true
    // A hook of the router's own expects an object.
    return this.preprocess === ModelRouter.prototype.preprocess && route?.host?.readsTensors(op) === true
  }

  async run(incoming: ModelEvent): Promise<unknown> {
    const original = incoming.body
    if (this.#inputPath !== undefined) incoming.body = extract(original, this.#inputPath)
    const event = await this.preprocess(incoming)
    const { path, method } = event
    if (
      event.body !== undefined &&
      method !== 'GET' &&
      !isPlainObject(event.body) &&
      !this.keepsBytes(event)
    ) {
      event.body = toObject(event)
    }
    if (isPlainObject(event.body) && event.body.data_url !== undefined)
      await this.#download(event, event.body.data_url)
    let result: unknown
    if (method === 'GET' && (path === '/' || path.startsWith(this.healthPrefix))) {
      result = { name: this.constructor.name, version: 'v2', extensions: [] }
    } else {
      if (path !== '' && path !== '/' && !path.startsWith(this.urlPrefix))
        throw new IllegalPath(path, this.urlPrefix)
      result = await this.answer(event)
    }
    if (this.postprocess !== ModelRouter.prototype.postprocess) {
      event.body = result
      result = (await this.postprocess(event)).body
    }
    if (this.#resultPath === undefined || original === undefined) return result
    return placeResult(original, this.#resultPath, result)
  }

  /** Resolves the event and runs what it names. Routers of other kinds override this. */
  protected async answer(event: ModelEvent): Promise<unknown> {
    const target = this.target(event)
    if (target === 'list') return this.list()
    if (target.route === undefined) throw this.missing(target.key)
    return target.route.run(event, target.op)
  }

  protected list(): object {
    return { models: this.routes.keys() }
  }

  protected missing(key: string): Error {
    return new ModelMissing(key, this.routes.keys())
  }

  /** The URL decides; without a model in it, the body's `model`, else the first route (3.4). */
  protected target(event: ModelEvent): Target | 'list' {
    const body = isPlainObject(event.body) ? event.body : undefined
    const asked = typeof body?.operation === 'string' ? body.operation : ''
    if (event.path === '' || event.path === '/') {
      const named = body?.model
      const route =
        typeof named === 'string' && named !== ''
          ? this.routes.find(named)
          : body === undefined
            ? undefined
            : this.routes.first()
      return { route, key: typeof named === 'string' ? named : '', op: asked || 'infer' }
    }
    const { key, op } = modelPath(event.path.slice(this.urlPrefix.length))
    if (key === '') return 'list'
    const route = this.routes.find(key)
    return { route, key, op: route?.protocol === 'oip' ? op : asked || op }
  }

  /** Protocol of the model that an event names, for the form of its errors (4.3). */
  protocolOf(event: ModelEvent): string | undefined {
    if (event.path !== '' && event.path !== '/' && !event.path.startsWith(this.urlPrefix)) return undefined
    const target = this.target(event)
    return target === 'list' ? undefined : target.route?.protocol
  }

  async #download(event: ModelEvent, url: unknown): Promise<void> {
    if (typeof url !== 'string' || this.#dataUrlAllow?.(url) !== true)
      throw new ValueError('data_url is not allowed')
    // A redirect could lead where the allow-list does not.
    const response = await fetch(url, { redirect: 'error', signal: event.signal })
    if (!response.ok) throw new ValueError(`data_url answered ${response.status}`)
    const content = await readBody(response, this.services.maxBodyBytes)
    if (content instanceof Error)
      throw new ValueError(`data_url: more than ${this.services.maxBodyBytes} bytes`)
    event.body = { inputs: [new Uint8Array(content ?? [])] }
  }
}
