/** Dotted paths into bodies: `inputPath` picks, `resultPath` places (specification, 2.5). Refuses prototype names. */

import { MLRunInvalidArgumentError, TypeMismatchError } from './errors.ts'
import { isPlainObject } from './event.ts'

const refused = new Set(['__proto__', 'prototype', 'constructor'])

/** Splits at dots; `\.` is a literal dot. An empty path is undefined. Throws for names that reach a prototype. */
export function parseBodyPath(path: string | undefined): readonly string[] | undefined {
  if (!path) return undefined
  const parts = path.split(/(?<!\\)\./).map((part) => part.replaceAll('\\.', '.'))
  const bad = parts.find((part) => refused.has(part))
  if (bad !== undefined) throw new MLRunInvalidArgumentError(`path part ${bad} is not allowed`)
  return parts
}

/** The part of the body at `path`; null where a key is missing. No body: undefined, nothing is extracted. */
export function extract(body: unknown, path: readonly string[]): unknown {
  if (body === undefined) return undefined
  if (!isPlainObject(body))
    throw new TypeMismatchError('input_path parameter supports only dict-like event bodies')
  let at: unknown = body
  for (const part of path) {
    if (!isPlainObject(at) || !Object.hasOwn(at, part)) return null
    at = at[part]
  }
  return at
}

/** A copy of the body with `result` at `path`, missing levels made. Without an object body the result stands alone. */
export function place(body: unknown, path: readonly string[], result: unknown): unknown {
  if (!isPlainObject(body)) return result
  const [part = '', ...rest] = path
  const below = Object.hasOwn(body, part) && isPlainObject(body[part]) ? body[part] : {}
  return { ...body, [part]: rest.length === 0 ? result : place(below, rest, result) }
}
