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
  /** SIGKILL, so long away, and again on the same data and ports. */
  restart(awayMs: number): Promise<void>
  end(): Promise<void>
}

export async function benchTemporal(): Promise<BenchTemporal> {
  const folder = mkdtempSync(join(tmpdir(), 'perdure-bench-'))
  const { path } = await findTemporal({ env: process.env, say: (line) => console.error(line) })
  const start = (port = 0) =>
    startTemporal({
      binary: path,
      dbFilename: join(folder, 'temporal.db'),
      port,
      headless: true,
      logFile: join(folder, 'temporal.log'),
    })
  let server = await start()
  const port = Number(server.address.split(':').at(-1))
  return {
    ...server,
    binary: path,
    folder,
    async restart(awayMs) {
      await server.kill()
      await new Promise((resolve) => setTimeout(resolve, awayMs))
      server = await start(port)
    },
    async end() {
      await server.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
