/** One process of Perdure as a user starts it, with nothing but the environment it is given. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { inject, onTestFinished } from 'vitest'
import { temporaryFolder } from './folders.ts'

export interface Program {
  /** What it has written so far. */
  stdout(): string
  stderr(): string
  /** Of stderr, without empty ones. */
  lines(): string[]
  /** Exit code; null after a signal. */
  exited: Promise<number | null>
  /** SIGTERM; the exit code. */
  stop(): Promise<number | null>
}

/**
 * `main` is a file of the repository: `api/main.ts`. The working directory is empty unless one is given.
 * Of this environment it gets what any program needs, and the test run's Temporal.
 */
export function startProgram(
  main: string,
  env: Record<string, string>,
  { args = [], cwd = temporaryFolder('program') }: { args?: string[]; cwd?: string } = {},
): Program {
  const child: ChildProcess = spawn(
    process.execPath,
    [fileURLToPath(new URL(`../../${main}`, import.meta.url)), ...args],
    {
      cwd,
      env: {
        PATH: process.env.PATH,
        HOME: process.env.HOME,
        PERDURE_TEST_WORKER: process.env.PERDURE_TEST_WORKER,
        PERDURE_CACHE_DIR: join(tmpdir(), 'perdure-test-cache'),
        TEMPORAL_ADDRESS: inject('temporalAddress'),
        ...env,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )
  const said = { stdout: '', stderr: '' }
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream]?.setEncoding('utf8').on('data', (chunk: string) => {
      said[stream] += chunk
    })
  }
  const exited = once(child, 'close').then(([code]) => code as number | null)
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await exited
  })
  return {
    stdout: () => said.stdout,
    stderr: () => said.stderr,
    lines: () => said.stderr.split('\n').filter(Boolean),
    exited,
    stop() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM')
      return exited
    },
  }
}
