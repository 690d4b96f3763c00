/** Ends the Docker engine that this very test run started (docker.ts); any other stays. */
import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { startedBy } from '../../scripts/docker-engine.mjs'

export default function setup(): () => void {
  const run = randomUUID()
  process.env.PERDURE_TEST_RUN = run
  return () => {
    if (startedBy() !== run) return
    const script = join(import.meta.dirname, '../../scripts/docker-engine.mjs')
    execFileSync(process.execPath, [script, 'stop'], { stdio: 'ignore', timeout: 120_000 })
  }
}
