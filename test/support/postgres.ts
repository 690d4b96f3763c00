/** A real PostgreSQL server in a temporary folder, one per test file, started when a suite of the file needs it. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, chownSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { afterAll, beforeAll } from 'vitest'
import { postgresFolder } from '../../scripts/postgres.mjs'
import { requirement } from './require.ts'

export interface Cluster {
  port: number
  /** An empty database; its connection string. */
  newDatabase(): Promise<string>
  /** SIGKILL to the server and to all its sessions, which would live on for a moment. */
  kill(): Promise<void>
  start(): Promise<void>
  stop(): Promise<void>
}

export const postgres = requirement('postgres', () => postgresFolder() !== undefined || 'no initdb found')

let shared: Cluster | undefined

export function sharedCluster(): Cluster {
  if (shared === undefined) throw new Error('no cluster runs: use describeWithCluster')
  return shared
}

/** A suite that has the file's cluster; skipped with its reason, or failing, where there is no PostgreSQL. */
export function describeWithCluster(name: string, define: () => void): void {
  postgres.describe(name, () => {
    beforeAll(async () => {
      shared ??= await startCluster()
    })
    define()
  })
}

afterAll(async () => {
  await shared?.stop()
})

export async function startCluster(): Promise<Cluster> {
  const bin = postgresFolder()
  if (bin === undefined) throw new Error('no PostgreSQL here')
  const folder = mkdtempSync(join(tmpdir(), 'perdure-pg-'))
  const user = serverUser()
  chmodSync(folder, 0o755)
  if (user.uid !== undefined && user.gid !== undefined) chownSync(folder, user.uid, user.gid)
  const data = join(folder, 'data')
  execFileSync(join(bin, 'initdb'), ['-D', data, '-U', 'perdure', '-A', 'trust', '-E', 'UTF8', '--no-sync'], {
    ...user,
    cwd: folder,
    stdio: 'ignore',
  })
  const port = await freePort()
  const adminUrl = `postgres://perdure@127.0.0.1:${port}/postgres`
  let server: ChildProcess | undefined

  async function start(): Promise<void> {
    // Data outlives kill -9 of the server without fsync; only a power cut would not be survived.
    const settings = ['fsync=off', 'max_connections=200', `port=${port}`, 'listen_addresses=127.0.0.1']
    const args = [...settings, `unix_socket_directories=${folder}`].flatMap((setting) => ['-c', setting])
    server = spawn(join(bin!, 'postgres'), ['-D', data, ...args], { ...user, cwd: folder, stdio: 'ignore' })
    const until = performance.now() + 30_000
    while (!(await accepts(adminUrl))) {
      if (server.exitCode !== null || performance.now() > until) throw new Error('PostgreSQL did not start')
      await delay(50)
    }
  }

  async function end(signal: NodeJS.Signals): Promise<void> {
    if (server === undefined || server.exitCode !== null || server.signalCode !== null) return
    const exited = once(server, 'exit')
    server.kill(signal)
    await exited
  }

  await start()
  return {
    port,
    start,
    async kill() {
      const sessions = childrenOf(server?.pid)
      await end('SIGKILL')
      for (const pid of sessions) endIfThere(pid)
    },
    async newDatabase() {
      const name = `t_${randomBytes(6).toString('hex')}`
      await withAdmin(adminUrl, (client) => client.query(`create database ${name}`))
      return `postgres://perdure@127.0.0.1:${port}/${name}`
    },
    async stop() {
      await end('SIGQUIT')
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** The server refuses to run as root: then it runs as the package's own user. */
function serverUser(): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {}
  const id = (flag: string) => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }))
  return { uid: id('-u'), gid: id('-g') }
}

function childrenOf(parent: number | undefined): number[] {
  if (parent === undefined) return []
  const { stdout } = spawnSync('ps', ['-o', 'pid=', '--ppid', String(parent)], { encoding: 'utf8' })
  return stdout
    .split('\n')
    .map(Number)
    .filter((pid) => pid > 0)
}

function endIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // Gone in the meantime.
  }
}

async function withAdmin(url: string, use: (client: pg.Client) => Promise<unknown>): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 })
  await client.connect()
  try {
    await use(client)
  } finally {
    await client.end()
  }
}

async function accepts(url: string): Promise<boolean> {
  try {
    await withAdmin(url, (client) => client.query('select 1'))
    return true
  } catch {
    return false
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
