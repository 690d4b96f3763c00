/** The routes of a server: keys in registration order, each a model or a handler, and how a name finds one (3.4). */

import { MLRunInvalidArgumentError } from './errors.ts'
import type { ModelEvent } from './event.ts'
import type { ModelHost } from './host.ts'
import type { Awaitable } from './model.ts'
import { runOperation } from './operations.ts'
import type { ModelSettings } from './settings.ts'

/** Answers a route that is no model. What it returns is rendered as a custom operation's result is. */
export type RouteHandler = (event: ModelEvent) => Awaitable<unknown>

/** The reference's limit of steps in one serving graph. */
const mostRoutes = 4500

export class Route {
  readonly key: string
  readonly name: string
  readonly version: string
  readonly settings: ModelSettings | undefined
  readonly handler: RouteHandler | undefined
  /** The protocol of the model, or of the server where there is none. */
  readonly protocol: string
  /** Set when the server starts; replaced by a reload. */
  host: ModelHost | undefined
  /** Unloaded models count as missing but stay in the repository index. */
  unloaded = false

  constructor(
    key: string,
    protocol: string,
    target: { settings: ModelSettings } | { handler: RouteHandler },
  ) {
    const colon = key.indexOf(':')
    this.key = key
    this.name = colon < 0 ? key : key.slice(0, colon)
    this.version = colon < 0 ? '' : key.slice(colon + 1)
    this.protocol = protocol
    this.settings = 'settings' in target ? target.settings : undefined
    this.handler = 'handler' in target ? target.handler : undefined
  }

  /** Runs the operation `op` of the model, or the handler. */
  async run(event: ModelEvent, op: string): Promise<unknown> {
    if (this.host !== undefined) return runOperation(this.host, event, op)
    return this.handler?.(event)
  }
}

export class RouteTable {
  readonly #routes = new Map<string, Route>()
  /** Per name, the highest version among `oip` routes. */
  readonly #highest = new Map<string, Route>()

  add(route: Route): void {
    if (this.#routes.size >= mostRoutes && !this.#routes.has(route.key)) {
      throw new MLRunInvalidArgumentError(
        `Cannot create the serving graph: the maximum number of steps is ${mostRoutes}`,
      )
    }
    this.#routes.set(route.key, route)
    this.#rank(route)
  }

  /** Call when a route was unloaded or came back. */
  refresh(): void {
    this.#highest.clear()
    for (const route of this.listed()) this.#rank(route)
  }

  #rank(route: Route): void {
    if (route.protocol !== 'oip' || route.version === '' || route.unloaded) return
    const other = this.#highest.get(route.name)
    if (other === undefined || order.compare(route.version, other.version) > 0) {
      this.#highest.set(route.name, route)
    }
  }

  /** The route of a key; a name without version finds the highest version of an `oip` model. */
  find(key: string): Route | undefined {
    const route = this.#routes.get(key)
    return route !== undefined && !route.unloaded ? route : this.#highest.get(key)
  }

  /** Routes of a key, or all versions of a name, the unloaded ones too. */
  matching(key: string): Route[] {
    const exact = this.#routes.get(key)
    return exact === undefined ? this.all().filter((route) => route.name === key) : [exact]
  }

  all(): Route[] {
    return [...this.#routes.values()]
  }

  listed(): Route[] {
    return this.all().filter((route) => !route.unloaded)
  }

  keys(): string[] {
    return this.listed().map((route) => route.key)
  }

  first(): Route | undefined {
    return this.listed()[0]
  }

  versionsOf(name: string): string[] {
    return this.listed()
      .filter((route) => route.name === name && route.version !== '')
      .map((route) => route.version)
  }

  get size(): number {
    return this.#routes.size
  }
}

const order = new Intl.Collator('en', { numeric: true })
