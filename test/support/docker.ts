/** The Docker engine of the tests: the one that answers, else one that this run starts and ends. */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { engineVersion } from '../../scripts/docker-engine.mjs'
import { required, requirement } from './require.ts'

/** Makes an image with Node, a shell and nothing else, without a registry; images of tests are built FROM it. */
export { ensureBaseImage } from '../../scripts/docker-image.mjs'

/**
 * Suites and tests that need Docker:
 * `docker.describe('the docker runner', () => { test('…', …) })`. Asked once per test file, while it is collected.
 */
export const docker = requirement('docker', engineAnswers)

/** Starts an engine only for a run that demands one, or where the programs are there and the user may. */
function engineAnswers(): boolean | string {
  if (engineVersion()) return true
  // Whoever set PERDURE_REQUIRE has tried what can be had.
  const mayTry = process.env.PERDURE_REQUIRE === undefined && mayStart()
  if (!required('docker') && !mayTry) return 'no engine answers'
  const script = join(import.meta.dirname, '../../scripts/docker-engine.mjs')
  try {
    execFileSync(process.execPath, [script, 'start'], {
      stdio: ['ignore', 'ignore', 'pipe'],
      timeout: 900_000,
    })
    return true
  } catch (error) {
    const output = error instanceof Error && 'stderr' in error ? String(error.stderr) : ''
    return `no engine can be started (${/Error: (.*)/.exec(output)?.[1] ?? 'see docker-engine.mjs start'})`
  }
}

function mayStart(): boolean {
  return process.getuid?.() === 0 && ['/usr/bin/dockerd', '/usr/sbin/dockerd'].some(existsSync)
}
