/**
 * Runs a Temporal server of one's own on the loopback interface. Owns its flags, ports, start and end; refuses to
 * share: the server belongs to the process that started it.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { Connection } from '@temporalio/client'
import { freePorts, isFree, loopback } from './free-ports.ts'
import { forgetChild, noteChild, stopOrphan } from './orphan.ts'
import { quoted, StartError } from './start-error.ts'

export interface TemporalOptions {
  /** The executable, see `findTemporal`. */
  binary: string
  /** Everything is kept here and found again; without it, in memory. */
  dbFilename?: string
  /** 0 (default) = any free port. */
  port?: number
  /** 0 (default) = any free port. */
  uiPort?: number
  /** Default `default`. Made if it is not there. */
  namespace?: string
  /** No web interface. Default false. */
  headless?: boolean
  /** What the server says is appended here. */
  logFile: string
  /** Where the server's process is noted. Default: `dbFilename` with `.pid`; without either, it is not. */
  pidFile?: string
  /** How long the start may take. */
  readyWithinMs?: number
  /** Settings of the server besides those that each one gets. */
  dynamicConfig?: Readonly<Record<string, number | boolean>>
}

export interface TemporalServer {
  /** `127.0.0.1:<port>`, for `Connection.connect` and `NativeConnection.connect`. */
  address: string
  /** Of the web interface; empty when headless. */
  uiUrl: string
  pid: number
  /** Settles when the process is gone, for whatever reason: `ended with SIGKILL`. */
  exited: Promise<string>
  /** SIGTERM, and SIGKILL after the grace. */
  stop(graceMs?: number): Promise<void>
  /** SIGKILL, as a crash would. */
  kill(): Promise<void>
}

/** Registered with the server, as design.md section 11 lists them. */
export const searchAttributes = {
  ModelName: 'KeywordList',
  Platform: 'KeywordList',
  TaskStatus: 'Keyword',
  FlightSize: 'Int',
} as const

/** Measured: without these a development server polls 20 times a second and limits itself to 400 calls a second. */
const dynamicConfig = {
  'history.transferProcessorMaxPollRPS': 2_000,
  'history.timerProcessorMaxPollRPS': 2_000,
  'history.visibilityProcessorMaxPollRPS': 2_000,
  'frontend.namespaceRPS': 20_000,
  'history.rps': 20_000,
  'matching.rps': 20_000,
  'matching.useNewMatcher': true,
  'matching.enableFairness': true,
}

/** The server picks further ports itself, and another process may be faster: then it is started again. */
const starts = 4

/** @throws StartError for a taken port, a database in use, or a server that does not come up. */
export async function startTemporal(options: TemporalOptions): Promise<TemporalServer> {
  const pidFile = options.pidFile ?? (options.dbFilename ? `${options.dbFilename}.pid` : undefined)
  if (pidFile) await stopPredecessor(pidFile)
  await refuseTaken(options)
  for (let start = 1; ; start++) {
    try {
      return await startOnce(options, pidFile)
    } catch (error) {
      const collision = /address already in use|bind:/i.test(error instanceof Error ? error.message : '')
      if (!collision || start === starts) throw error
    }
  }
}

async function stopPredecessor(pidFile: string): Promise<void> {
  const orphan = await stopOrphan(pidFile)
  if (typeof orphan === 'object') {
    throw new StartError(
      `its Temporal database is in use by process ${orphan.ownedBy} (${pidFile}): stop that first`,
    )
  }
}

async function refuseTaken({ port = 0, uiPort = 0, headless }: TemporalOptions): Promise<void> {
  if (port !== 0 && !(await isFree(port))) {
    throw new StartError(
      `port ${port} of Temporal is taken: set PERDURE_TEMPORAL_PORT to another (0 = any free one)`,
    )
  }
  if (!headless && uiPort !== 0 && !(await isFree(uiPort))) {
    throw new StartError(
      `port ${uiPort} of the Temporal UI is taken: set PERDURE_TEMPORAL_UI_PORT to another (0 = any free one)`,
    )
  }
}

async function startOnce(options: TemporalOptions, pidFile: string | undefined): Promise<TemporalServer> {
  const [free, freeUi, httpPort, metricsPort] = await freePorts(4)
  const ports = {
    port: options.port || free!,
    uiPort: options.uiPort || freeUi!,
    httpPort: httpPort!,
    metricsPort: metricsPort!,
  }
  const child = launch(options, ports)
  const exited = new Promise<string>((gone) => {
    child.once('error', (error) => gone(`did not start (${error.message})`))
    child.once('exit', (code, signal) => gone(`ended with ${signal ?? `exit code ${code}`}`))
  })
  if (pidFile && child.pid) noteChild(pidFile, child.pid)
  // A parent that ends without having stopped its server takes it along; one that is killed cannot (see orphan.ts).
  const takeAlong = () => child.kill('SIGKILL')
  process.once('exit', takeAlong)
  void exited.then(() => process.off('exit', takeAlong))
  const end = async (signal: NodeJS.Signals, graceMs: number) => {
    child.kill(signal)
    const killer = setTimeout(() => child.kill('SIGKILL'), graceMs)
    await exited
    clearTimeout(killer)
    if (pidFile) forgetChild(pidFile)
  }
  const address = `${loopback}:${ports.port}`
  try {
    await serving(address, options, exited)
  } catch (error) {
    await end('SIGKILL', 0)
    throw error
  }
  return {
    address,
    uiUrl: options.headless ? '' : `http://${loopback}:${ports.uiPort}`,
    pid: child.pid!,
    exited,
    stop: (graceMs = 10_000) => end('SIGTERM', graceMs),
    kill: () => end('SIGKILL', 0),
  }
}

/** In a process group of its own: the Ctrl-C of a terminal must not end the server before those who use it. */
function launch(
  options: TemporalOptions,
  ports: Record<'port' | 'uiPort' | 'httpPort' | 'metricsPort', number>,
): ChildProcess {
  const args = ['server', 'start-dev', '--ip', loopback, '--port', String(ports.port)]
  args.push('--http-port', String(ports.httpPort), '--metrics-port', String(ports.metricsPort))
  args.push(...(options.headless ? ['--headless'] : ['--ui-port', String(ports.uiPort)]))
  args.push('--namespace', options.namespace ?? 'default', '--log-level', 'error')
  for (const [key, value] of Object.entries({ ...dynamicConfig, ...options.dynamicConfig }))
    args.push('--dynamic-config-value', `${key}=${value}`)
  for (const [name, type] of Object.entries(searchAttributes))
    args.push('--search-attribute', `${name}=${type}`)
  if (options.dbFilename) {
    args.push('--db-filename', options.dbFilename)
    // A killed process loses nothing in this mode; a power cut may lose the last commits.
    args.push('--sqlite-pragma', 'journal_mode=wal', '--sqlite-pragma', 'synchronous=normal')
  }
  const log = openSync(options.logFile, 'a')
  try {
    // Settings of a client that the user may have must not reach the server.
    const env = { HOME: homedir(), TMPDIR: tmpdir() }
    return spawn(options.binary, args, { detached: true, env, stdio: ['ignore', log, log] })
  } finally {
    closeSync(log)
  }
}

async function serving(address: string, options: TemporalOptions, exited: Promise<string>): Promise<void> {
  const until = performance.now() + (options.readyWithinMs ?? 60_000)
  let gone: string | undefined
  void exited.then((how) => {
    gone = how
  })
  let connection: Connection | undefined
  try {
    while (gone === undefined && performance.now() < until) {
      connection ??= await Connection.connect({ address, connectTimeout: '1s' }).catch(() => undefined)
      if (connection && (await complete(connection, options.namespace ?? 'default'))) return
      await Promise.race([sleep(50), exited])
    }
  } finally {
    await connection?.close()
  }
  const how = gone ?? 'did not become ready in time'
  throw new StartError(`the Temporal server ${how}: ${lastLine(options.logFile)} (log: ${options.logFile})`)
}

/** The port is open before the namespace is there, and that before its search attributes. */
async function complete(connection: Connection, namespace: string): Promise<boolean> {
  try {
    const answer = await connection.withDeadline(Date.now() + 2_000, async () => {
      await connection.workflowService.describeNamespace({ namespace })
      return await connection.operatorService.listSearchAttributes({ namespace })
    })
    return Object.keys(searchAttributes).every((name) => name in (answer.customAttributes ?? {}))
  } catch {
    return false
  }
}

function lastLine(logFile: string): string {
  const lines = readFileSync(logFile, 'utf8').trim().split('\n')
  return quoted(lines.findLast((line) => /error|address already in use/i.test(line)) ?? lines.at(-1) ?? '')
}
