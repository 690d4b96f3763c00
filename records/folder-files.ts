/** Uploaded files in a folder of the data folder. Names are ours; a file is there as a whole or not at all. */
import { createReadStream, createWriteStream } from 'node:fs'
import { mkdir, open, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { checkedName, type FileBytes } from './files.ts'

export function makeFolderFiles(folder: string): FileBytes {
  const pathOf = (name: string) => join(folder, checkedName(name))
  const partOf = (name: string) => join(folder, `.${checkedName(name)}.part`)

  return {
    async put(name, content) {
      const part = partOf(name)
      // Not at the start: a process that stores no file needs no folder to write in.
      await mkdir(folder, { recursive: true })
      try {
        await pipeline(content, createWriteStream(part))
        // On disk before its name is given out.
        const file = await open(part, 'r')
        await file.sync().finally(() => file.close())
        await rename(part, pathOf(name))
      } catch (error) {
        await rm(part, { force: true })
        throw error
      }
    },

    async look(name) {
      try {
        const { size, mtime } = await stat(pathOf(name))
        return { size, modifiedAt: mtime }
      } catch {
        return undefined
      }
    },

    async read(name, range): Promise<Readable> {
      return createReadStream(pathOf(name), range && { start: range.first, end: range.last })
    },

    async remove(names) {
      for (const name of names) {
        await rm(pathOf(name), { force: true })
        await rm(partOf(name), { force: true })
      }
    },
  }
}
