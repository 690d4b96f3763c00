/** Runs a model server as a child of this process. Owns its start and end; model code never runs on our event loop. */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { isFree, loopback } from './free-ports.ts'
import { forgetChild, noteChild, stopOrphan } from './orphan.ts'
import { quoted, StartError } from './start-error.ts'

export interface ModelServerOptions {
  /** Module that exports the model or the server. */
  module: string
  /** 0 = any free port. */
  port: number
  logFile: string
  pidFile: string
}

export interface ModelServerProcess {
  /** `127.0.0.1:<port>`. */
  address: string
  pid: number
  /** Settles when the process is gone, for whatever reason. */
  exited: Promise<void>
  stop(): Promise<void>
}

const readyWithinMs = 30_000
/** Longer than the server's own grace for requests that run. */
const stopWithinMs = 12_000

/** @throws StartError for a taken port or a model that does not load. */
export async function startModelServer(options: ModelServerOptions): Promise<ModelServerProcess> {
  const orphan = await stopOrphan(options.pidFile)
  if (typeof orphan === 'object') {
    throw new StartError(`its data folder is in use by process ${orphan.ownedBy}: stop that first`)
  }
  if (options.port !== 0 && !(await isFree(options.port))) {
    throw new StartError(
      `port ${options.port} of the model server is taken: set PERDURE_MODEL_PORT to another (0 = any free one)`,
    )
  }
  const child = launch(options)
  const exited = new Promise<void>((gone) => {
    child.once('error', () => gone())
    child.once('exit', () => gone())
  })
  if (child.pid) noteChild(options.pidFile, child.pid)
  const takeAlong = () => child.kill('SIGKILL')
  process.once('exit', takeAlong)
  void exited.then(() => process.off('exit', takeAlong))
  const stop = async () => {
    child.kill('SIGTERM')
    const killer = setTimeout(() => child.kill('SIGKILL'), stopWithinMs)
    await exited
    clearTimeout(killer)
    forgetChild(options.pidFile)
  }
  const port = await listeningPort(child, exited)
  if (port === undefined) {
    await stop()
    throw new StartError(
      `the model server did not start: ${lastLine(options.logFile)} (log: ${options.logFile})`,
    )
  }
  return { address: `${loopback}:${port}`, pid: child.pid!, exited, stop }
}

/** In a process group of its own: the Ctrl-C of a terminal must not end it before those who call it. */
function launch({ module, port, logFile }: ModelServerOptions): ChildProcess {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
  const main = fileURLToPath(new URL(`../modelserver/main.${extension}`, import.meta.url))
  const log = openSync(logFile, 'a')
  try {
    return spawn(process.execPath, [main, module, '--host', loopback, '--port', String(port)], {
      detached: true,
      stdio: ['ignore', 'pipe', log],
    })
  } finally {
    closeSync(log)
  }
}

/** The first line that says where it listens; undefined if it ends or takes too long before that. */
async function listeningPort(child: ChildProcess, exited: Promise<void>): Promise<number | undefined> {
  const lines = createInterface({ input: child.stdout! })
  const late = AbortSignal.timeout(readyWithinMs)
  return await new Promise((resolve) => {
    void exited.then(() => resolve(undefined))
    late.addEventListener('abort', () => resolve(undefined))
    lines.on('line', (line) => {
      const port = portIn(line)
      if (port !== undefined) resolve(port)
    })
  })
}

function portIn(line: string): number | undefined {
  try {
    const said: unknown = JSON.parse(line)
    if (typeof said !== 'object' || said === null || !('port' in said)) return undefined
    return typeof said.port === 'number' ? said.port : undefined
  } catch {
    // The model prints lines of its own.
    return undefined
  }
}

function lastLine(logFile: string): string {
  return quoted(readFileSync(logFile, 'utf8').trim().split('\n').at(-1) ?? '')
}
