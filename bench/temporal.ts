/** The embedded Temporal of a benchmark: the same server and flags as `npm start`, with a file database. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findTemporal } from '../dev/temporal-binary.ts'
import { startTemporal, type TemporalServer } from '../dev/temporal-server.ts'

export interface BenchTemporal extends TemporalServer {
  /** The executable. */
  binary: string
  /** Scratch folder; gone after `end`. */
  folder: string
  end(): Promise<void>
}

export async function benchTemporal(): Promise<BenchTemporal> {
  const folder = mkdtempSync(join(tmpdir(), 'perdure-bench-'))
  const { path } = await findTemporal({ env: process.env, say: (line) => console.error(line) })
  const server = await startTemporal({
    binary: path,
    dbFilename: join(folder, 'temporal.db'),
    headless: true,
    logFile: join(folder, 'temporal.log'),
  })
  return {
    ...server,
    binary: path,
    folder,
    async end() {
      await server.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
