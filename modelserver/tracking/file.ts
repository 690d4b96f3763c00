/** Appends records to a file, one JSON text per line. Makes missing folders; never rotates or truncates. */

import { type FileHandle, mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { printJson } from '../../contracts/json.ts'
import { ValueError } from '../errors.ts'
import type { StreamTarget } from './target.ts'

export class FileStream implements StreamTarget {
  readonly #path: string
  #handle: Promise<FileHandle> | undefined
  /** Several models share the file: their lines are written one push after the other. */
  #last: Promise<unknown> = Promise.resolve()

  constructor(url: string) {
    try {
      this.#path = fileURLToPath(url)
    } catch (cause) {
      throw new ValueError(`unsupported stream path ${url}`, { cause })
    }
  }

  push(records: unknown[]): Promise<void> {
    const lines = records.map((record) => `${printJson(record)}\n`).join('')
    const written = this.#last.then(() => this.#append(lines))
    this.#last = written.catch(() => {})
    return written
  }

  async close(): Promise<void> {
    await this.#last
    const handle = this.#handle
    this.#handle = undefined
    if (handle) await (await handle).close()
  }

  async #append(lines: string): Promise<void> {
    this.#handle ??= this.#open()
    try {
      await (await this.#handle).appendFile(lines)
    } catch (error) {
      // A file that could not be opened is tried again with the next record.
      this.#handle = undefined
      throw error
    }
  }

  async #open(): Promise<FileHandle> {
    await mkdir(dirname(this.#path), { recursive: true })
    return open(this.#path, 'a')
  }
}
