/**
 * Temporal as in production, on this machine: its server on PostgreSQL, started with the files of deploy/compose. Can
 * be killed and started again on the same ports. Owns its processes; the PostgreSQL server is the caller's.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Connection } from '@temporalio/client'
import { lastingPorts, loopback } from '../dev/free-ports.ts'
import { searchAttributes } from '../dev/temporal-server.ts'
import { temporalServerPrograms } from '../scripts/temporal-server.mjs'

export interface TemporalOnPostgresOptions {
  postgresPort: number
  /** The executable `temporal`, which makes the namespace. */
  cli: string
  /** As shipped: 128. A test is well served by few: each costs queries even when nothing happens. Default 4. */
  shards?: number
}

export interface TemporalOnPostgres {
  /** `127.0.0.1:<port>`, the same after each start. */
  address: string
  /** What it says, all starts in one file. */
  logFile: string
  /** While it runs. */
  pid(): number | undefined
  /** SIGKILL, and gone. */
  kill(): Promise<void>
  /** Resolves when it serves. */
  start(): Promise<void>
  /** Settles when the server that runs now is gone, for whatever reason. */
  ended(): Promise<void>
  /** Stops it and deletes what it wrote, its databases excepted. */
  stop(): Promise<void>
}

const shipped = fileURLToPath(new URL('../deploy/compose/', import.meta.url))
/** The cluster takes any: this one shows that the configuration quotes it. */
const password = `it's "#1": {any} \\ <pass> & word`

/** One server per cluster: its databases are `temporal` and `temporal_visibility`. */
export async function startTemporalOnPostgres(
  options: TemporalOnPostgresOptions,
): Promise<TemporalOnPostgres> {
  const programs = temporalServerPrograms()
  if (programs === undefined) throw new Error('no Temporal server here: node scripts/temporal-server.mjs')
  const folder = mkdtempSync(join(tmpdir(), 'perdure-temporal-'))
  const logFile = join(folder, 'temporal.log')
  const ports = await lastingPorts(10)
  const address = `${loopback}:${ports[0]}`
  let server: ChildProcess | undefined

  const bin = join(folder, 'bin')
  mkdirSync(bin)
  symlinkSync(programs['temporal-sql-tool'], join(bin, 'temporal-sql-tool'))
  symlinkSync(options.cli, join(bin, 'temporal'))
  const env = {
    HOME: homedir(),
    TMPDIR: tmpdir(),
    PATH: `${bin}${delimiter}${process.env.PATH ?? ''}`,
    SQL_HOST: loopback,
    SQL_PORT: String(options.postgresPort),
    SQL_ADDRESS: `${loopback}:${options.postgresPort}`,
    SQL_PASSWORD: password,
    TEMPORAL_ADDRESS: address,
    DYNAMIC_CONFIG: join(shipped, 'temporal-dynamic.yaml'),
    NUM_HISTORY_SHARDS: String(options.shards ?? 4),
    BIND_ON_IP: loopback,
    METRICS_ADDRESS: `${loopback}:${ports[9]}`,
    ...Object.fromEntries(portNames.map((name, n) => [name, String(ports[n])])),
  }

  function runs(): boolean {
    return server !== undefined && server.exitCode === null && server.signalCode === null
  }

  async function start(): Promise<void> {
    const log = openSync(logFile, 'a')
    const args = ['--config-file', join(shipped, 'temporal.yaml'), '--allow-no-auth', 'start']
    try {
      server = spawn(programs!['temporal-server'], args, { env, cwd: folder, stdio: ['ignore', log, log] })
    } finally {
      closeSync(log)
    }
    await serving(address, runs, () => lastLines(logFile))
  }

  async function ended(): Promise<void> {
    if (server !== undefined && runs()) await once(server, 'exit')
  }

  async function end(signal: NodeJS.Signals): Promise<void> {
    const gone = ended()
    if (runs()) server?.kill(signal)
    const killer = setTimeout(() => server?.kill('SIGKILL'), 20_000)
    await gone
    clearTimeout(killer)
  }

  const takeAlong = () => {
    server?.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  }
  process.once('exit', takeAlong)
  try {
    await runScript('temporal-schema.sh', env)
    await start()
    await runScript('temporal-namespace.sh', env)
    await registered(address)
  } catch (error) {
    await end('SIGKILL')
    process.off('exit', takeAlong)
    rmSync(folder, { recursive: true, force: true })
    throw error
  }
  return {
    address,
    logFile,
    pid: () => (runs() ? server?.pid : undefined),
    kill: () => end('SIGKILL'),
    start,
    ended,
    async stop() {
      await end('SIGTERM')
      process.off('exit', takeAlong)
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

const portNames = [
  'FRONTEND_PORT',
  'FRONTEND_MEMBERSHIP_PORT',
  'FRONTEND_HTTP_PORT',
  'HISTORY_PORT',
  'HISTORY_MEMBERSHIP_PORT',
  'MATCHING_PORT',
  'MATCHING_MEMBERSHIP_PORT',
  'WORKER_PORT',
  'WORKER_MEMBERSHIP_PORT',
]

async function runScript(name: string, env: Record<string, string>): Promise<void> {
  try {
    await promisify(execFile)('sh', [join(shipped, name)], { env, timeout: 120_000 })
  } catch (error) {
    const said = error instanceof Error && 'stderr' in error ? String(error.stderr) : ''
    throw new Error(`${name} failed: ${said.trim().split('\n').slice(-5).join('\n')}`, { cause: error })
  }
}

const service = 'temporal.api.workflowservice.v1.WorkflowService'

async function serving(address: string, runs: () => boolean, why: () => string): Promise<void> {
  const until = performance.now() + 120_000
  let connection: Connection | undefined
  try {
    while (runs() && performance.now() < until) {
      connection ??= await Connection.connect({ address, connectTimeout: '1s' }).catch(() => undefined)
      if (connection && (await answers(connection))) return
      await sleep(50)
    }
  } finally {
    await connection?.close()
  }
  throw new Error(`the Temporal server ${runs() ? 'is not ready' : 'ended'}: ${why()}`)
}

/** Serving, with history and matching behind it: reading a task queue passes through both. */
async function answers(connection: Connection): Promise<boolean> {
  try {
    const { status } = await connection.withDeadline(Date.now() + 2_000, () =>
      connection.healthService.check({ service }),
    )
    return status === 1
  } catch {
    return false
  }
}

/** Any worker would do it too; here a test may look at once. */
async function registered(address: string): Promise<void> {
  const connection = await Connection.connect({ address })
  try {
    const until = performance.now() + 60_000
    for (;;) {
      try {
        const known = await connection.operatorService.listSearchAttributes({ namespace: 'default' })
        const missing = Object.entries(searchAttributes).filter(
          ([name]) => !(name in (known.customAttributes ?? {})),
        )
        if (missing.length === 0) return
        const types = { KeywordList: 7, Keyword: 2, Int: 3 }
        await connection.operatorService.addSearchAttributes({
          namespace: 'default',
          searchAttributes: Object.fromEntries(missing.map(([name, type]) => [name, types[type]])),
        })
      } catch (error) {
        // A namespace that was just made is not known everywhere for some seconds.
        if (performance.now() > until) throw error
      }
      await sleep(100)
    }
  } finally {
    await connection.close()
  }
}

function lastLines(file: string): string {
  return readFileSync(file, 'utf8').trim().split('\n').slice(-3).join('\n')
}
