/** Reads a validation file, YAML or JSON; its relative paths are relative to the file. Checks nothing else. */
import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { parse } from 'yaml'
import { isJsonObject } from '../contracts/json.ts'

/** Throws an `Error` of one line for a file that cannot be read. */
export async function readValidationFile(path: string): Promise<Record<string, unknown>> {
  let request: unknown
  try {
    request = parse(await readFile(path, 'utf8'))
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split('\n', 1)[0] : String(cause)
    throw new Error(`${path} cannot be read: ${reason}`, { cause })
  }
  if (!isJsonObject(request)) throw new Error(`${path} holds no validation request`)
  const folder = dirname(resolve(path))
  // The worker runs elsewhere, with another working directory.
  for (const [member, ...keys] of [
    ['model', 'path'],
    ['servingSpec', 'binary', 'cwd'],
  ] as const) {
    const holder = keys.slice(0, -1).reduce<unknown>((at, key) => inside(at, key), request[member])
    makeAbsolute(holder, keys.at(-1) ?? '', folder)
  }
  const splits = inside(request.examples, 'splits')
  if (isJsonObject(splits)) for (const name of Object.keys(splits)) makeAbsolute(splits, name, folder)
  return request
}

function inside(value: unknown, key: string): unknown {
  return isJsonObject(value) ? value[key] : undefined
}

function makeAbsolute(holder: unknown, key: string, folder: string): void {
  if (!isJsonObject(holder)) return
  const path = holder[key]
  if (typeof path === 'string') holder[key] = resolve(folder, path)
}
