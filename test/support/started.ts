/** Servers that a test starts as child processes: watched while it waits for them, stopped for sure. */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const startedWithinMs = 90_000
const stoppedWithinMs = 20_000

export interface Started {
  assertRunning(): void
  stop(): Promise<void>
}

/** Starts a program whose output goes to `<folder>/<name>.log`. */
export function start(program: string, args: string[], folder: string, name: string): Started {
  const logFile = join(folder, `${name}.log`)
  const log = openSync(logFile, 'a')
  const child: ChildProcess = spawn(program, args, { cwd: folder, stdio: ['ignore', log, log] })
  closeSync(log)
  const exited = new Promise<void>((gone) => {
    child.once('error', () => gone())
    child.once('exit', () => gone())
  })
  return {
    assertRunning() {
      if (child.exitCode === null && child.signalCode === null && child.pid) return
      throw new Error(
        `${name} ended: ${readFileSync(logFile, 'utf8').trim().split('\n').slice(-3).join(' | ')}`,
      )
    },
    async stop() {
      child.kill('SIGTERM')
      const killer = setTimeout(() => child.kill('SIGKILL'), stoppedWithinMs)
      await exited
      clearTimeout(killer)
    },
  }
}

/** Waits until it holds; an error counts as not yet. Fails when one of the servers ends, or time is up. */
export async function until(
  running: readonly Started[],
  what: string,
  holds: () => Promise<boolean>,
): Promise<void> {
  const deadline = performance.now() + startedWithinMs
  let reason = ''
  while (performance.now() < deadline) {
    for (const one of running) one.assertRunning()
    try {
      if (await holds()) return
    } catch (error) {
      reason = error instanceof Error ? error.message : String(error)
    }
    await sleep(50)
  }
  throw new Error(`not within ${startedWithinMs / 1_000} s: ${what} (${reason})`)
}
