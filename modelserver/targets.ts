/** What may stand behind a route key: a model class, in a thread or not, or a handler. Runs none of them. */

import { ValueError } from './errors.ts'
import type { ModelEvent } from './event.ts'
import { type ModelClass, V2ModelServer } from './model.ts'
import type { RouteHandler } from './routes.ts'
import { threadedModel } from './scheduling/threaded-model.ts'
import type { ModelSettings } from './settings.ts'

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

/** With `isolate: 'thread'`, the settings with the class that runs the user's in a worker thread. */
export function withThread(key: string, settings: ModelSettings): ModelSettings {
  if (settings.isolate !== 'thread') return settings
  const { module, maxOldGenerationMb, class: own } = settings
  if (module === undefined)
    throw new ValueError(`model ${key}: isolate needs the module that exports the class`)
  const exportName = settings.export ?? own?.name ?? 'default'
  const limit = maxOldGenerationMb === undefined ? {} : { maxOldGenerationMb }
  return { ...settings, class: threadedModel({ module, exportName, ...limit }) }
}
