/** Composes the copying of output files: read from the provider's hosts, kept as files of their prediction. */

import { PassThrough } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { OutputFiles } from '../activities/output-files.ts'
import { type DownloadOptions, makeDownloads } from '../platforms/guarded-download.ts'
import { type FileBytes, newFileName } from '../records/files.ts'
import type { Store } from '../records/store.ts'
import { withinSize } from '../records/uploads.ts'

export interface OutputFilesOptions extends DownloadOptions {
  store: Pick<Store, 'addFile' | 'forgetFiles'>
  bytes: FileBytes
  maxFileBytes: number
  /** `host:port` that callers reach us at; empty = addresses are relative to the API. */
  address: string
  warn(details: { prediction: string; error: unknown }, text: string): void
}

export function makeOutputFiles(options: OutputFilesOptions): OutputFiles {
  const { store, bytes, maxFileBytes, address } = options
  const downloads = makeDownloads(options)
  const base = address === '' ? '' : `http://${address}`
  return {
    covers: downloads.covers,
    async copy(url, predictionId, signal) {
      const name = newFileName(new URL(url).pathname)
      const content = await downloads.open(url, signal)
      const checked = new PassThrough()
      // The row first: no bytes without one, whenever this process dies.
      await store.addFile(name, predictionId)
      try {
        await Promise.all([pipeline(content, withinSize(maxFileBytes), checked), bytes.put(name, checked)])
        return `${base}/files/${name}`
      } catch (error) {
        await bytes.remove([name]).catch(() => undefined)
        await store.forgetFiles([name]).catch(() => undefined)
        throw error
      }
    },
    onLost: (prediction, error) =>
      options.warn({ prediction, error }, 'a file of the output stays at the provider, which will delete it'),
  }
}
