/** The server object: models and routes in, HTTP answers out. Owns start, drain and stop; refuses ports (listen.ts). */

import { Hono } from 'hono'
import { AbortSource, within } from './abort.ts'
import { isPacked, unpacked } from './content-encoding.ts'
import { Dispatcher } from './dispatcher.ts'
import { HttpError, RuntimeError, ValueError } from './errors.ts'
import type { EventFields } from './event.ts'
import { fromFetch, toResponse } from './fetch.ts'
import { ModelHost } from './host.ts'
import type { ServedModels, ServerState } from './http/served-models.ts'
import { type EventRules, type Incoming, streamEvent, toEvent } from './incoming.ts'
import type { ServerOptions, TrackingSettings } from './options.ts'
import { errorReply, isStream, Reply, withHeaders } from './reply.ts'
import { ModelRouter } from './router.ts'
import { Route, RouteTable } from './routes.ts'
import { checkBatching, checkLimits } from './scheduling/index.ts'
import { ServerPaths } from './server-paths.ts'
import { defaultMaxBodyBytes, makeServices } from './services.ts'
import type { ModelSettings, ServerServices } from './settings.ts'
import { handlerOf, isModelClass, type RouteTarget, withThread } from './targets.ts'
import { readAnswer, type TestAnswer, type TestOptions, testRequest } from './testing.ts'
import { continueTrace, traceparent } from './trace.ts'

/** What exists from `start()` on. */
interface Running {
  readonly services: ServerServices
  readonly paths: ServerPaths
  readonly dispatcher: Dispatcher
}

export class ModelServer implements ServedModels {
  /** Fetch-style application. Routes and middleware added to it come before the server's own paths. */
  readonly app: Hono
  readonly options: ServerOptions
  readonly routes = new RouteTable()
  /** None where one model is mounted at `/`. */
  readonly router: ModelRouter | undefined
  readonly maxBodyBytes: number
  readonly #parameters: Record<string, unknown>
  readonly #rules: EventRules
  readonly #active = new Set<AbortSource>()
  #trackModels: boolean | undefined
  #state: ServerState = 'new'
  #running: Running | undefined
  #whenQuiet: (() => void) | undefined

  constructor(options: ServerOptions = {}) {
    if (options.model !== undefined && options.router !== undefined) {
      throw new ValueError('a server has a router or one model, not both')
    }
    const {
      parameters,
      maxBodyBytes = defaultMaxBodyBytes,
      defaultContentType = '',
      eventPathHeader = true,
    } = options
    this.options = options
    this.maxBodyBytes = maxBodyBytes
    this.#parameters = { ...parameters }
    this.#rules = { defaultContentType, eventPathHeader }
    this.app = new Hono()
    this.app.notFound(async (c) => {
      const incoming = await fromFetch(c.req.raw, maxBodyBytes)
      return toResponse(await this.handle(incoming), incoming.method === 'HEAD')
    })
    if (options.model === undefined) {
      this.router = options.router ?? new ModelRouter()
    } else {
      const { name, ...settings } = options.model
      this.addModel(name, settings)
    }
  }

  get state(): ServerState {
    return this.#state
  }

  /** Registers a model under `name` or `name:version`. After `start()` it waits for `loadModel(key)`. */
  addModel(key: string, settings: ModelSettings): this {
    checkLimits(settings)
    if (settings.batching !== undefined) checkBatching(settings.batching)
    const route = new Route(key, settings.protocol ?? this.options.protocol ?? 'v2', {
      settings: withThread(key, settings),
    })
    route.unloaded = this.#state !== 'new'
    this.routes.add(route)
    return this
  }

  /** Registers a handler `(event) => result`, a class with `doEvent(event)`, or a model class without settings. */
  addRoute(key: string, target: RouteTarget): this {
    if (isModelClass(target)) return this.addModel(key, { class: target })
    this.routes.add(new Route(key, this.options.protocol ?? 'v2', { handler: handlerOf(target) }))
    return this
  }

  /** Before `start()`: where tracking records go and how many make one. `enable: false` switches tracking off. */
  setTracking(path: string, { batch, sample, streamArgs, enable = true }: TrackingSettings = {}): this {
    if (enable) this.#parameters.log_stream = path
    else delete this.#parameters.log_stream
    this.#trackModels = enable
    if (batch !== undefined) this.#parameters.log_stream_batch = batch
    if (sample !== undefined) this.#parameters.log_stream_sample = sample
    if (streamArgs !== undefined) this.#parameters.stream_args = streamArgs
    return this
  }

  /** Loads the models. `loadMode: 'sync'`: rejects with `failed to load model <name>` at the first that fails. */
  async start(): Promise<this> {
    if (this.#state !== 'new') throw new RuntimeError(`the server is ${this.#state}`)
    const trackModels = this.#trackModels ?? this.options.trackModels
    const options = { ...this.options, ...(trackModels === undefined ? {} : { trackModels }) }
    const services = makeServices(options, this.#parameters, this.routes, this.router?.hasChildren ?? false)
    this.router?.attach(this.routes, services)
    const target = this.router ?? this.routes.first()
    if (target === undefined) throw new ValueError('a server without router needs a model')
    for (const route of this.routes.all()) {
      if (route.settings !== undefined) route.host = new ModelHost(route.key, route.settings, services)
    }
    this.#running = {
      services,
      paths: new ServerPaths(this, services),
      dispatcher: new Dispatcher(target, services),
    }
    this.#state = 'started'
    if (this.options.loadMode === 'async') this.#loadInBackground(services)
    else await this.#loadInOrder()
    await this.router?.started()
    return this
  }

  async #loadInOrder(): Promise<void> {
    const hosts = this.#hosts()
    try {
      for (const host of hosts) await host.load()
    } catch (error) {
      // What loaded before may hold threads or sockets; nobody can stop a server that never started.
      this.#state = 'stopped'
      await Promise.all(hosts.map((host) => host.close()))
      throw error
    }
  }

  #hosts(): ModelHost[] {
    return this.routes.all().flatMap(({ host }) => host ?? [])
  }

  #loadInBackground({ context }: ServerServices): void {
    for (const { key, host } of this.routes.all()) {
      host?.load().catch(() => context.logger.error({ model: key, error: host.failure }, 'model not loaded'))
    }
  }

  /** Loads or reloads a registered model, or all versions of a name; a reload swaps only on success. */
  async loadModel(key: string): Promise<void> {
    await this.#started().paths.repository.load(key)
  }

  /** Refuses new requests, waits for running ones, and takes the model out; `loadModel` brings it back. */
  async unloadModel(key: string): Promise<void> {
    await this.#started().paths.repository.unload(key)
  }

  /**
   * Refuses new inference with 503 while running requests finish, at most `gracePeriodMs`; then aborts what is left,
   * sends the last tracking records and lets every model clean up.
   */
  async stop({ gracePeriodMs = 8000 }: { gracePeriodMs?: number } = {}): Promise<void> {
    if (this.#state !== 'started') return
    this.#state = 'draining'
    const { services } = this.#started()
    const hosts = this.#hosts()
    for (const host of hosts) host.queue.close('draining')
    const drained = Promise.all([this.#quiet(), ...hosts.map((host) => host.queue.idle())])
    await within(drained, gracePeriodMs)
    for (const request of this.#active) request.abort(new HttpError(503, 'the server stops'))
    await Promise.all(hosts.map((host) => host.close()))
    await this.router?.stopped()
    await services.errorStream?.flush()
    await services.tracking?.target.close?.()
    this.#state = 'stopped'
  }

  /** Answers a Fetch request, no port needed. */
  async fetch(request: Request): Promise<Response> {
    return this.app.fetch(request)
  }

  /** Answers an event read from a stream: what is left out is empty; `body` may be parsed already. */
  async run(event: Partial<EventFields>): Promise<TestAnswer> {
    const abort = new AbortSource()
    const full = streamEvent(event, abort)
    return readAnswer(await this.#track(abort, () => this.#started().dispatcher.answer(full)))
  }

  /** Sends a request through the whole server in-process. Throws `failed (<status>): <body>` from 300 up unless `silent`. */
  async test(path = '/', options: TestOptions = {}): Promise<TestAnswer> {
    const answer = await readAnswer(await this.handle(testRequest(path, options)))
    if (answer.status >= 300 && options.silent !== true) {
      throw new Error(`failed (${answer.status}): ${answer.text}`)
    }
    return answer
  }

  /** Answers what a transport has read. Never rejects. */
  async handle(incoming: Incoming): Promise<Reply | Response> {
    const running = this.#running
    if (running === undefined) return errorReply('Server is not ready.', 503)
    if (incoming.headers.traceparent === undefined) return this.#answer(running, incoming)
    const trace = continueTrace(incoming.headers)
    const reply = await this.#answer(running, { ...incoming, trace })
    return trace === undefined ? reply : withHeaders(reply, { traceresponse: traceparent(trace) })
  }

  #answer(running: Running, incoming: Incoming): Promise<Reply | Response> {
    return this.#track(incoming.abort, async () => {
      const read = isPacked(incoming) ? await unpacked(incoming, this.maxBodyBytes) : incoming
      const own = read.fault === undefined ? running.paths.answer(read) : undefined
      return own ?? running.dispatcher.answer(toEvent(read, this.#rules), read.fault)
    })
  }

  /** A request is active until its answer is there, a stream until it has ended: a stop waits for it, then aborts it. */
  async #track(abort: AbortSource, work: () => Promise<Reply | Response>): Promise<Reply | Response> {
    this.#active.add(abort)
    const over = () => {
      this.#active.delete(abort)
      if (this.#active.size === 0) this.#whenQuiet?.()
    }
    try {
      const reply = await work()
      if (!(reply instanceof Reply) || !isStream(reply.body)) {
        over()
        return reply
      }
      return reply.with({ body: endingWith(reply.body, over) })
    } catch (error) {
      over()
      throw error
    }
  }

  #quiet(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#active.size === 0) resolve()
      else this.#whenQuiet = resolve
    })
  }

  #started(): Running {
    if (this.#running === undefined) throw new RuntimeError('the server is not started')
    return this.#running
  }
}

export function createModelServer(options: ServerOptions = {}): ModelServer {
  return new ModelServer(options)
}

async function* endingWith(pieces: AsyncIterable<string>, over: () => void): AsyncGenerator<string> {
  try {
    yield* pieces
  } finally {
    over()
  }
}
