/** How routes are mounted: described once, measured, logged, their errors answered. */
import type { HttpBindings } from '@hono/node-server'
import type { OpenAPIHono, RouteConfig } from '@hono/zod-openapi'
import type { Context } from 'hono'
import { type Observing, observe } from '../runtime/http/observe.ts'
import type { Surface } from './errors.ts'

/** `incoming` is absent where no server is behind the app, as in `app.request()`. */
export interface ApiEnv {
  Bindings: Partial<HttpBindings>
}
export type Api = OpenAPIHono<ApiEnv>
export type ApiContext = Context<ApiEnv>

export interface Route extends RouteConfig {
  getRoutingPath(): string
}

export type Handler = (c: ApiContext) => Response | Promise<Response>

/** Mounts a route without any middleware: measuring, logging and errors are one closure around its handler. */
export function mount(
  app: Api,
  observing: Observing,
  route: Route,
  surface: Surface,
  handler: Handler,
): void {
  app.openAPIRegistry.registerPath(route)
  const path = route.getRoutingPath()
  const observed = observe(observing, path, surface, handler)
  app.on(route.method.toUpperCase(), path, observed)
}
