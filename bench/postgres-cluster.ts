/** A real PostgreSQL server of one's own in a temporary folder, on loopback. Can be killed and started again. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, chownSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { lastingPorts } from '../dev/free-ports.ts'
import { postgresFolder } from '../scripts/postgres.mjs'
import { childrenOf } from '../scripts/servers/children.ts'

export interface Cluster {
  port: number
  /** Of the server's first process, while it runs. */
  pid(): number | undefined
  /** An empty database; its connection string. */
  newDatabase(): Promise<string>
  /** SIGKILL to the server and to all its sessions, which would live on for a moment; gone when it resolves. */
  kill(): Promise<void>
  start(): Promise<void>
  /** Settles when the server that runs now is gone, for whatever reason. */
  ended(): Promise<void>
  stop(): Promise<void>
}

export interface ClusterOptions {
  /** Wait for the disk on commit. Without it data still outlives kill -9, only not a power cut. Default false. */
  fsync?: boolean
  maxConnections?: number
  /** Other settings, as postgresql.conf has them: `['log_lock_waits=on']`. */
  settings?: readonly string[]
}

/** User `perdure`, superuser, without a password. */
export async function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const { fsync = false, maxConnections = 200, settings: others = [] } = options
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
  const [port] = await lastingPorts(1)
  const adminUrl = `postgres://perdure@127.0.0.1:${port}/postgres`
  let server: ChildProcess | undefined

  async function start(): Promise<void> {
    const settings = [
      `fsync=${fsync ? 'on' : 'off'}`,
      `max_connections=${maxConnections}`,
      `port=${port}`,
      'listen_addresses=127.0.0.1',
      `unix_socket_directories=${folder}`,
      ...others,
    ]
    const args = settings.flatMap((setting) => ['-c', setting])
    server = spawn(join(bin!, 'postgres'), ['-D', data, ...args], { ...user, cwd: folder, stdio: 'ignore' })
    const until = performance.now() + 60_000
    while (!(await accepts(adminUrl))) {
      if (!runs() || performance.now() > until) throw new Error('PostgreSQL did not start')
      await delay(50)
    }
  }

  function runs(): boolean {
    return server !== undefined && server.exitCode === null && server.signalCode === null
  }

  async function ended(): Promise<void> {
    if (server !== undefined && runs()) await once(server, 'exit')
  }

  async function end(signal: NodeJS.Signals): Promise<void> {
    const gone = ended()
    if (runs()) server?.kill(signal)
    await gone
  }

  // Whoever ends without having stopped its server takes it along.
  const takeAlong = () => {
    server?.kill('SIGQUIT')
    // Its sessions write for another moment.
    rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
  }
  process.once('exit', takeAlong)
  await start()
  return {
    port: port!,
    start,
    ended,
    pid: () => (runs() ? server?.pid : undefined),
    async kill() {
      const sessions = server?.pid === undefined ? [] : childrenOf(server.pid)
      await end('SIGKILL')
      for (const pid of sessions) endIfThere(pid)
      // While one of them holds the shared memory, the next server refuses to start.
      const until = performance.now() + 10_000
      while (sessions.some(isThere) && performance.now() < until) await delay(10)
    },
    async newDatabase() {
      const name = `t_${randomBytes(6).toString('hex')}`
      await withAdmin(adminUrl, (client) => client.query(`create database ${name}`))
      return `postgres://perdure@127.0.0.1:${port}/${name}`
    },
    async stop() {
      await end('SIGQUIT')
      process.off('exit', takeAlong)
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

function endIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // Gone in the meantime.
  }
}

/** One that has ended but was not waited for by its new parent holds nothing any more. */
function isThere(pid: number): boolean {
  const { stdout } = spawnSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' })
  return stdout.trim() !== '' && !stdout.startsWith('Z')
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
