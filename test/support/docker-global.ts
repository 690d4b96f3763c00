/** Ends the Docker engine that this test run started (docker.ts); one that ran before stays. */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const pidFile = join(tmpdir(), 'perdure-docker-engine', 'dockerd.pid')

export default function setup(): () => void {
  const before = existsSync(pidFile)
  return () => {
    if (before || !existsSync(pidFile)) return
    const script = join(import.meta.dirname, '../../scripts/docker-engine.mjs')
    execFileSync(process.execPath, [script, 'stop'], { stdio: 'ignore', timeout: 120_000 })
  }
}
