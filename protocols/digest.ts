/** Digests that bind a blessing: of a model's files, and of any JSON value. Refuses models whose content is not fixed. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { lstat, readdir, realpath, stat } from 'node:fs/promises'
import { join, relative, sep } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { ServiceError } from '../contracts/errors.ts'
import type { ModelDigestKind } from '../contracts/validation-record.ts'

export interface ModelDigest {
  /** `sha256:<hex>` for files; what was given for a URI; empty for `uri-only`. */
  digest: string
  kind: ModelDigestKind
}

/**
 * SHA-256 of a manifest of the files below `path`: sorted by path bytes, one line each, `sha256  path` (7.5).
 * A single file is a manifest of one line. Throws `CONFIG_INVALID` for what cannot be read, for symlinks that leave the
 * folder, empty folders and special files.
 */
export async function digestFiles(path: string): Promise<string> {
  const root = await readable(path)
  const info = await stat(root)
  const files = info.isFile() ? [''] : await filesBelow(root, root, new Set([root]))
  const lines: string[] = []
  for (const file of files.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))) {
    const name = file === '' ? (root.split(sep).at(-1) ?? '') : file.split(sep).join('/')
    lines.push(`${await sha256Of(join(root, file))}  ${name}\n`)
  }
  return `sha256:${createHash('sha256').update(lines.join('')).digest('hex')}`
}

/** The digest of a validation's model: of its files, as given for a URI, or `uri-only` when nothing pins it. */
export async function digestModel(model: {
  path?: string | undefined
  uri?: string | undefined
  digest?: string | undefined
}): Promise<ModelDigest> {
  if (model.path === undefined) {
    return { digest: model.digest ?? '', kind: model.digest === undefined ? 'uri-only' : 'given' }
  }
  const digest = await digestFiles(model.path)
  if (model.digest !== undefined && model.digest !== digest) {
    throw invalid('model.digest', `is ${model.digest}, but the files make ${digest}`)
  }
  return { digest, kind: 'manifest' }
}

/** SHA-256 of the canonical JSON of a value: keys sorted, no white space, `undefined` members left out. */
export function digestJson(value: unknown): string {
  return `sha256:${createHash('sha256').update(canonicalJson(value)).digest('hex')}`
}

/** JSON with sorted keys, as in RFC 8785 for the values that occur here. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) {
    return `[${value.map((item) => (item === undefined ? 'null' : canonicalJson(item))).join(',')}]`
  }
  if (typeof value !== 'object' || value === null || JSON.isRawJSON(value)) return JSON.stringify(value)
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, member]) => `${JSON.stringify(key)}:${canonicalJson(member)}`)
  return `{${members.join(',')}}`
}

async function filesBelow(root: string, folder: string, seen: ReadonlySet<string>): Promise<string[]> {
  const names = await readdir(folder)
  if (names.length === 0) throw invalid('model.path', `holds an empty folder: ${shown(root, folder)}`)
  const found: string[] = []
  for (const name of names) {
    const path = join(folder, name)
    const target = await inside(root, path)
    const info = await stat(target)
    if (info.isFile()) found.push(relative(root, path))
    else if (info.isDirectory()) {
      // A link to a folder above itself would be walked for ever.
      if (seen.has(target)) throw invalid('model.path', `holds a circular link: ${shown(root, path)}`)
      found.push(...(await filesBelow(root, path, new Set([...seen, target]))))
    } else throw invalid('model.path', `holds neither file nor folder: ${shown(root, path)}`)
  }
  return found
}

async function inside(root: string, path: string): Promise<string> {
  const target = await realpath(path).catch(() => undefined)
  const isLink = (await lstat(path)).isSymbolicLink()
  if (target === undefined) throw invalid('model.path', `holds a broken link: ${shown(root, path)}`)
  if (isLink && target !== root && !target.startsWith(root + sep)) {
    throw invalid('model.path', `holds a link that leaves it: ${shown(root, path)}`)
  }
  return target
}

async function readable(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch (cause) {
    throw new ServiceError('CONFIG_INVALID', 'model.path: cannot be read', { cause })
  }
}

async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256')
  try {
    await pipeline(createReadStream(file), hash)
  } catch (cause) {
    throw new ServiceError('CONFIG_INVALID', 'model.path: holds a file that cannot be read', { cause })
  }
  return hash.digest('hex')
}

function shown(root: string, path: string): string {
  return relative(root, path) || '.'
}

function invalid(field: string, message: string): ServiceError {
  return new ServiceError('CONFIG_INVALID', `${field}: ${message}`)
}
