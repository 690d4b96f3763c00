/**
 * The chaos run: two APIs, two workers, Temporal and PostgreSQL under steady load, each killed with -9 in turn and
 * started again. Every accepted prediction ends, none is lost, none ends twice, no two of its calls are alive at once.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished } from 'vitest'
import { production } from '../support/production.ts'

const main = fileURLToPath(new URL('../../bench/main.ts', import.meta.url))
const seconds = process.env.PERDURE_FULL ? 600 : 120

production.test(
  `every promise holds through ${seconds / 60} minutes of kill -9 in turn`,
  async () => {
    const run = spawn(process.execPath, [main, 'chaos', '--seconds', String(seconds), '--rate', '20'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const ended = once(run, 'exit')
    onTestFinished(async () => {
      if (run.exitCode === null && run.signalCode === null) run.kill('SIGTERM')
      await ended
    })
    let said = ''
    for (const stream of [run.stdout, run.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        said += text
      })
    }
    const [code] = await ended
    expect(said).toContain('every promise held')
    expect(code, said).toBe(0)
  },
  seconds * 1_000 + 420_000,
)
