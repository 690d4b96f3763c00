/** `npm start` as a child of a test: its settings, its output, its end, and what it would leave behind. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, inject, onTestFinished, vi } from 'vitest'
import { lastingPorts } from '../../dev/free-ports.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const main = join(root, 'dev/main.ts')

export interface Started {
  pid: number
  stdout(): string
  stderr(): string
  exit: Promise<number | null>
  interrupt(): void
  kill(signal: NodeJS.Signals): void
}

/** `npm` is a process between, as for a user. */
export function start(
  folder: string,
  settings: Record<string, string>,
  by: 'node' | 'npm' = 'node',
): Started {
  const [program, args, cwd] = by === 'npm' ? ['npm', ['start'], root] : [process.execPath, [main], folder]
  const child = spawn(program, args, {
    cwd,
    // Out of the group of the test: a Ctrl-C goes to the whole group, here only to the process.
    detached: true,
    env: {
      ...process.env,
      TEMPORAL_ADDRESS: '',
      TEMPORAL_CLI_PATH: inject('temporalCli'),
      PERDURE_CACHE_DIR: join(tmpdir(), 'perdure-test-cache'),
      PERDURE_DATA_DIR: join(folder, 'data'),
      SHUTDOWN_DELAY: '0',
      ...settings,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let out = ''
  let err = ''
  child.stdout.on('data', (chunk) => {
    out += chunk
  })
  child.stderr.on('data', (chunk) => {
    err += chunk
  })
  const exit = once(child, 'exit').then(([code]) => code as number | null)
  onTestFinished(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM')
    await exit
  })
  const kill = (signal: NodeJS.Signals) => void child.kill(signal)
  const pid = child.pid!
  return { pid, stdout: () => out, stderr: () => err, exit, interrupt: () => kill('SIGINT'), kill }
}

/** Below those that the system hands out: Temporal is killed and started again on its own. */
export async function ports(): Promise<Record<string, string>> {
  const [api, temporal, ui, model] = await lastingPorts(4)
  return {
    HTTP_SERVER_ADDRESS: `127.0.0.1:${api}`,
    PERDURE_TEMPORAL_PORT: String(temporal),
    PERDURE_TEMPORAL_UI_PORT: String(ui),
    PERDURE_MODEL_PORT: String(model),
  }
}

export async function untilReady(started: Started): Promise<string[]> {
  await vi.waitFor(() => expect(started.stdout(), started.stderr()).toMatch(/^curl .*\n/m), {
    timeout: 90_000,
    interval: 100,
  })
  return started.stdout().trimEnd().split('\n')
}

/** Processes that were started with something of this folder. */
export function processesUsing(folder: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
        const where = readFileSync(`/proc/${pid}/environ`, 'utf8')
        return words.includes(folder) || where.includes(`PERDURE_DATA_DIR=${folder}`) ? [words] : []
      } catch {
        return []
      }
    })
}
