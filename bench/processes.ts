/** Starts what a benchmark measures, each part in a process of its own, and tells what it used. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const compileCache = join(tmpdir(), 'perdure-bench-compile-cache')
/** As `npm start` and the image start Node. */
const nodeFlags = ['--max-semi-space-size=8']
const root = new URL('../', import.meta.url)

export interface Running {
  pid: number
  /** Members of the first JSON line on stdout; empty if none was waited for. */
  said: Record<string, unknown>
  /** Settles when it is gone, for whatever reason. */
  ended: Promise<void>
  stop(): Promise<void>
  kill(): Promise<void>
}

export interface RunOptions {
  args?: readonly string[]
  env?: Record<string, string>
  /** Wait for a JSON line on stdout. */
  speaks?: boolean
  cwd?: string
  /** Where it writes what it would write on the screen. */
  logFile?: string
}

export async function run(script: string, options: RunOptions = {}): Promise<Running> {
  const argv = [...nodeFlags, fileURLToPath(new URL(script, root)), ...(options.args ?? [])]
  const errors = options.logFile === undefined ? 'inherit' : openSync(options.logFile, 'a')
  const child = spawn(process.execPath, argv, {
    stdio: ['ignore', 'pipe', errors],
    // As the npm scripts and the published command set it: without it, types are stripped anew at every start.
    env: { NODE_COMPILE_CACHE: compileCache, ...process.env, ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  })
  if (typeof errors === 'number') closeSync(errors)
  const ended = new Promise<void>((gone) => {
    child.once('error', () => gone())
    child.once('exit', () => gone())
  })
  // Whoever ends without having stopped what it started takes it along.
  const takeAlong = () => child.kill('SIGKILL')
  process.once('exit', takeAlong)
  void ended.then(() => process.off('exit', takeAlong))
  const said = options.speaks ? await firstLine(child, script) : {}
  child.stdout!.resume()
  const end = async (signal: NodeJS.Signals) => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill(signal)
    await ended
  }
  return { pid: child.pid!, said, ended, stop: () => end('SIGTERM'), kill: () => end('SIGKILL') }
}

async function firstLine(child: ChildProcess, script: string): Promise<Record<string, unknown>> {
  const lines = createInterface({ input: child.stdout! })
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`${script} ended with ${code} before it was ready`)
  })
  const [line] = (await Promise.race([once(lines, 'line'), ended])) as [string]
  // Nobody waits for this any more.
  ended.catch(() => undefined)
  return JSON.parse(line) as Record<string, unknown>
}

/** Resident memory in MB. */
export function residentMb(pid: number): number {
  const kb = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return Number(kb) / 1024
}

/** CPU time used so far, user and system, in milliseconds; 0 for a process that is gone. */
export function cpuMs(pid: number): number {
  if (!existsSync(`/proc/${pid}/stat`)) return 0
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ')
  const ticksPerSecond = 100
  return ((Number(fields[11]) + Number(fields[12])) / ticksPerSecond) * 1_000
}

/** Polls until `done` holds. Throws after `withinMs`. */
export async function until(
  what: string,
  withinMs: number,
  done: () => Promise<boolean>,
  everyMs = 20,
): Promise<void> {
  const endMs = Date.now() + withinMs
  while (!(await done().catch(() => false))) {
    if (Date.now() > endMs) throw new Error(`${what}: not within ${withinMs / 1_000} s`)
    await new Promise((resolve) => setTimeout(resolve, everyMs))
  }
}
