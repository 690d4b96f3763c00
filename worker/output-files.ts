/** Composes the copying of output files: read from the provider's hosts, kept as files of their prediction. */
import { pipeline } from 'node:stream'
import type { OutputFiles } from '../activities/output-files.ts'
import { type DownloadOptions, makeDownloads } from '../platforms/guarded-download.ts'
import { newFileName } from '../records/files.ts'
import { withinSize } from '../records/uploads.ts'
import type { Uploads } from './uploads.ts'

export interface OutputFilesOptions extends DownloadOptions {
  uploads: Pick<Uploads, 'keep'>
  maxFileBytes: number
  /** `host:port` that callers reach us at; empty = addresses are relative to the API. */
  address: string
  warn(details: { prediction: string; error: unknown }, text: string): void
}

export function makeOutputFiles(options: OutputFilesOptions): OutputFiles {
  const { uploads, maxFileBytes, address } = options
  const downloads = makeDownloads(options)
  const base = address === '' ? '' : `http://${address}`
  return {
    covers: downloads.covers,
    async copy(url, predictionId, signal) {
      const content = await downloads.open(url, signal)
      // What goes wrong on either side is told by the other.
      const checked = pipeline(content, withinSize(maxFileBytes), () => undefined)
      const kept = await uploads.keep(predictionId, newFileName(new URL(url).pathname), checked, signal)
      // Its own words for the host may be of this network only.
      return `${base}/files/${kept.slice(kept.lastIndexOf('/') + 1)}`
    },
    onLost: (prediction, error) =>
      options.warn({ prediction, error }, 'a file of the output stays at the provider, which will delete it'),
  }
}
