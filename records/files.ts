/** Files of predictions: names, sizes, storage behind one interface, expiry. Knows no HTTP. */
import { randomUUID } from 'node:crypto'
import { basename, extname } from 'node:path'
import type { Readable } from 'node:stream'
import { ServiceError } from '../contracts/errors.ts'
import type { Store } from './store.ts'

/** Where the bytes lie: a folder or a bucket. */
export interface FileBytes {
  /** Streams all of it to storage; when it throws nothing is left. */
  put(name: string, content: Readable): Promise<void>
  /** Undefined if there is no such file. */
  look(name: string): Promise<{ size: number; modifiedAt: Date } | undefined>
  /** `range` holds the first and the last byte, both included. */
  read(name: string, range?: ByteRange): Promise<Readable>
  /** Absent ones are no error. */
  remove(names: readonly string[]): Promise<void>
}

export interface ByteRange {
  first: number
  last: number
}

/** A random name that keeps nothing of what was sent but a harmless extension. */
export function newFileName(sentName: string): string {
  const extension = extname(basename(sentName))
  return randomUUID() + (/^\.[A-Za-z0-9]{1,16}$/.test(extension) ? extension : '')
}

export function isFileName(name: string): boolean {
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(\.[A-Za-z0-9]{1,16})?$/.test(name)
}

/** Every path and key is built from a checked name. */
export function checkedName(name: string): string {
  if (!isFileName(name)) throw new ServiceError('not_found', 'file not found')
  return name
}

const atOnce = 200

/**
 * Deletes files that are older by the store's clock and whose prediction is gone, at most 200; returns how many. The row
 * goes last.
 */
export async function expireFiles(store: Store, bytes: FileBytes, retentionMs: number): Promise<number> {
  const names = await store.oldFiles(retentionMs, atOnce)
  await bytes.remove(names)
  await store.forgetFiles(names)
  return names.length
}
