/** The Docker engine of the tests: the one that answers, else one that this run starts and ends. */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { required, requirement } from './require.ts'

const scripts = join(import.meta.dirname, '../../scripts')

/**
 * Suites and tests that need Docker:
 * `docker.describe('the docker runner', () => { test('…', …) })`. Asked once per test file, while it is collected.
 */
export const docker = requirement('docker', engineAnswers)

/** Name of an image with Node, a shell and nothing else, made without a registry; images of tests are built FROM it. */
export function baseImage(): string {
  return execFileSync(process.execPath, [join(scripts, 'docker-image.mjs')], {
    encoding: 'utf8',
    timeout: 120_000,
  }).trim()
}

/** Starts an engine only for a run that demands one, or where the programs are there and the user may. */
function engineAnswers(): boolean | string {
  if (engineVersion()) return true
  if (!required('docker') && !mayStart()) return 'no engine answers'
  try {
    const stdio: ['ignore', 'ignore', 'pipe'] = ['ignore', 'ignore', 'pipe']
    execFileSync(process.execPath, [join(scripts, 'docker-engine.mjs'), 'start'], { stdio, timeout: 900_000 })
    return true
  } catch (error) {
    const output = error instanceof Error && 'stderr' in error ? String(error.stderr) : ''
    return `no engine can be started (${/Error: (.*)/.exec(output)?.[1] ?? 'see docker-engine.mjs start'})`
  }
}

function engineVersion(): string | undefined {
  try {
    const args = ['version', '--format', '{{.Server.Version}}']
    const stdio: ['ignore', 'pipe', 'ignore'] = ['ignore', 'pipe', 'ignore']
    return execFileSync('docker', args, { encoding: 'utf8', stdio, timeout: 10_000 }).trim() || undefined
  } catch {
    return undefined
  }
}

function mayStart(): boolean {
  return process.getuid?.() === 0 && ['/usr/bin/dockerd', '/usr/sbin/dockerd'].some(existsSync)
}
