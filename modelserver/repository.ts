/** The repository extension: index, load, reload and unload of registered models (specification, 7.5). */

import { parseJson } from '../contracts/json.ts'
import { errorMessage, InvalidInput, RuntimeError } from './errors.ts'
import { isPlainObject } from './event.ts'
import { faultReply, ModelMissing } from './faults.ts'
import { ModelHost } from './host.ts'
import { decode } from './model-path.ts'
import { errorReply, jsonReply, type Reply } from './reply.ts'
import type { Route, RouteTable } from './routes.ts'
import type { ServerServices } from './settings.ts'

interface IndexEntry {
  name: string
  version?: string
  state: string
  reason: string
}

export class Repository {
  readonly #routes: RouteTable
  readonly #services: ServerServices
  /** One change at a time per route: a load behind an unload waits for it. */
  readonly #changes = new Map<Route, Promise<void>>()

  constructor(routes: RouteTable, services: ServerServices) {
    this.#routes = routes
    this.#services = services
  }

  post(path: string, body: Uint8Array | undefined): (() => Promise<Reply>) | undefined {
    if (path === '/v2/repository/index') return async () => this.#indexReply(body)
    const found = /^\/v2\/repository\/models\/([^/]+)\/(load|unload)$/.exec(path)
    if (found === null) return async () => errorReply('Not Found', 404)
    const [, name = '', verb] = found
    return verb === 'load' ? () => this.#loadReply(decode(name)) : () => this.#unloadReply(decode(name))
  }

  index(readyOnly = false): IndexEntry[] {
    const entries: IndexEntry[] = []
    for (const route of this.#routes.all()) {
      if (route.settings === undefined) continue
      const { state, reason } = conditionOf(route)
      if (readyOnly && state !== 'READY') continue
      entries.push({
        name: route.name,
        ...(route.version === '' ? {} : { version: route.version }),
        state,
        reason,
      })
    }
    return entries
  }

  /** Loads or reloads; a bare name with versions means all of them. Throws `ModelMissing`, or the load's error. */
  async load(key: string): Promise<void> {
    for (const route of this.#known(key)) await this.#change(route, () => this.#reload(route))
  }

  async unload(key: string): Promise<void> {
    for (const route of this.#known(key)) await this.#change(route, () => this.#unload(route))
  }

  #known(key: string): Route[] {
    const routes = this.#routes.matching(key).filter((route) => route.settings !== undefined)
    if (routes.length === 0) throw new ModelMissing(key, this.#routes.keys())
    return routes
  }

  async #change(route: Route, change: () => Promise<void>): Promise<void> {
    const before = this.#changes.get(route) ?? Promise.resolve()
    const changed = before.catch(() => {}).then(change)
    this.#changes.set(route, changed)
    await changed
  }

  async #reload(route: Route): Promise<void> {
    if (route.settings === undefined) return
    const old = route.unloaded ? undefined : route.host
    const fresh = new ModelHost(route.key, route.settings, this.#services)
    try {
      await fresh.load()
    } catch (error) {
      await fresh.close()
      if (old === undefined) fresh.metrics.remove()
      else old.watch()
      if (old?.state === 'UNAVAILABLE') old.failure = fresh.failure
      throw error
    }
    route.host = fresh
    route.unloaded = false
    this.#routes.refresh()
    // Requests that began on the old instance end on it; nobody waits for that.
    if (old !== undefined) void old.unload()
  }

  async #unload(route: Route): Promise<void> {
    if (route.unloaded || route.host === undefined) return
    await route.host.unload()
    route.host.metrics.remove()
    route.unloaded = true
    this.#routes.refresh()
  }

  #indexReply(body: Uint8Array | undefined): Reply {
    let asked: unknown
    try {
      asked = body === undefined || body.byteLength === 0 ? {} : parseJson(Buffer.from(body).toString('utf8'))
    } catch (error) {
      return faultReply(new InvalidInput(`Unrecognized request format: ${errorMessage(error)}`), 'json')
    }
    return jsonReply(this.index(isPlainObject(asked) && asked.ready === true))
  }

  async #loadReply(name: string): Promise<Reply> {
    try {
      await this.load(name)
      return jsonReply({ name, load: true })
    } catch (error) {
      if (error instanceof ModelMissing) return faultReply(error, 'json')
      const cause = error instanceof RuntimeError && error.cause !== undefined ? error.cause : error
      return errorReply(`failed to load model ${name}: ${errorMessage(cause)}`, 500)
    }
  }

  async #unloadReply(name: string): Promise<Reply> {
    try {
      await this.unload(name)
      return jsonReply({ name, unload: true })
    } catch (error) {
      return faultReply(error, 'json')
    }
  }
}

function conditionOf({ unloaded, host }: Route): { state: string; reason: string } {
  return unloaded || host === undefined ? { state: 'UNAVAILABLE', reason: 'unloaded' } : host.condition
}
