/** Finds what a user's module wants to have served: a server, or model classes (docs/model-server.md). Loads no model. */

import { readdir, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ValueError } from './errors.ts'
import { type ModelClass, V2ModelServer } from './model.ts'
import type { ServerOptions } from './options.ts'
import { createModelServer, ModelServer } from './server.ts'
import type { ModelSettings } from './settings.ts'

/** Settings for classes; a module that exports a server has decided them itself. */
export interface ModuleSettings {
  /** Route key; only for a module with one class. */
  name?: string
  modelPath?: string
  server?: ServerOptions
  model?: Omit<ModelSettings, 'class' | 'modelPath'>
}

/**
 * Imports the module at a path or file URL; of a folder its `model.ts`, `.js` or `.mjs`. If it exports a server made by `createModelServer`, that is served: the
 * default export, else `server`, else the only one. Otherwise every exported class that extends V2ModelServer is a
 * model: under `name`, else its static `route`, else the class name in kebab case without `Model` at its end
 * (`IrisModel` = `iris`). The package must be the same one the module imports.
 */
export async function serverFromModule(module: string, settings: ModuleSettings = {}): Promise<ModelServer> {
  const url = module.startsWith('file:') ? module : pathToFileURL(await moduleFile(resolve(module))).href
  const exported: Record<string, unknown> = await import(url)
  const server = exportedServer(module, exported)
  if (server !== undefined) return server
  const classes = [...new Set(Object.values(exported))].filter(isModel)
  if (classes.length === 0)
    throw new ValueError(`${module} exports neither a model server nor a V2ModelServer class`)
  const { name, modelPath } = settings
  if (classes.length > 1 && (name !== undefined || modelPath !== undefined)) {
    throw new ValueError(`${module} exports ${classes.length} models: a name or model path fits only one`)
  }
  const made = createModelServer(settings.server)
  for (const Class of classes) {
    const path = modelPath === undefined ? {} : { modelPath }
    made.addModel(name ?? routeKey(Class), { ...settings.model, class: Class, ...path })
  }
  return made
}

const folderModules = ['model.ts', 'model.js', 'model.mjs']

async function moduleFile(path: string): Promise<string> {
  const isFolder = (await stat(path).catch(() => undefined))?.isDirectory() ?? false
  if (!isFolder) return path
  const names = await readdir(path)
  const found = folderModules.find((name) => names.includes(name))
  if (found === undefined) throw new ValueError(`${path} holds none of ${folderModules.join(', ')}`)
  return join(path, found)
}

function exportedServer(module: string, exported: Record<string, unknown>): ModelServer | undefined {
  const { default: main, server } = exported
  if (main instanceof ModelServer) return main
  if (server instanceof ModelServer) return server
  const servers = Object.values(exported).filter((value) => value instanceof ModelServer)
  if (servers.length > 1) throw new ValueError(`${module} exports several servers: name one of them server`)
  return servers[0]
}

function isModel(value: unknown): value is ModelClass {
  return typeof value === 'function' && value.prototype instanceof V2ModelServer
}

function routeKey(Class: ModelClass): string {
  if ('route' in Class && typeof Class.route === 'string') return Class.route
  const name = Class.name.replace(/Model$/, '') || Class.name
  return name.replace(/([a-z0-9])([A-Z])/g, '$1-$2').toLowerCase()
}
