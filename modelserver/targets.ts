/** What may stand behind a route key that is no configured model. */

import { ValueError } from './errors.ts'
import type { ModelEvent } from './event.ts'
import { type ModelClass, V2ModelServer } from './model.ts'
import type { RouteHandler } from './routes.ts'

/** A class whose instances answer events; made once, without arguments. */
export type HandlerClass = new () => { doEvent(event: ModelEvent): unknown }

export type RouteTarget = RouteHandler | HandlerClass | ModelClass

export function isModelClass(target: RouteTarget): target is ModelClass {
  return target === V2ModelServer || target.prototype instanceof V2ModelServer
}

/** The handler itself, or `doEvent` of a new instance. */
export function handlerOf(target: Exclude<RouteTarget, ModelClass>): RouteHandler {
  if (!isHandlerClass(target)) return target
  const instance = new target()
  return (event) => instance.doEvent(event)
}

function isHandlerClass(target: RouteHandler | HandlerClass): target is HandlerClass {
  const prototype: unknown = target.prototype
  if (typeof prototype !== 'object' || prototype === null) return false
  if ('doEvent' in prototype) return true
  if (target.toString().startsWith('class'))
    throw new ValueError(`class ${target.name} has no doEvent method`)
  return false
}
