/** Runs one foreign server as a process group on loopback. Owns its logs, its end and the proof of it; knows no server. */
import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { get } from 'node:http'
import { createServer } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'

export interface ServerProcess {
  /** `127.0.0.1:<port>`. */
  address: string
  baseUrl: string
  pid: number
  /** stdout and stderr since the start. */
  logs(): string
  /** Exit code, or null after a signal, once the process has ended. */
  exited: Promise<number | null>
  /** SIGTERM to the whole group, SIGKILL to what is left after a while; rejects if a member or the port survives. */
  stop(): Promise<void>
}

export interface Launch {
  command: string
  args: readonly string[]
  cwd: string
  env?: Record<string, string>
  port: number
  /** Removes what the server needed; called after it is gone. */
  clean?: () => Promise<void>
}

const stopWithinMs = 20_000
const deadGroups = new Set<number>()
const groups = new Set<number>()
process.on('exit', () => {
  for (const group of groups) signal(group, 'SIGKILL')
})

export function launch({ command, args, cwd, env, port, clean }: Launch): ServerProcess {
  const child = spawn(command, [...args], {
    cwd,
    env: { ...process.env, ...env },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let logs = ''
  const keep = (chunk: Buffer) => {
    logs += chunk.toString('utf8')
  }
  child.stdout.on('data', keep)
  child.stderr.on('data', keep)
  const exited = endOf(child)
  const { pid } = child
  if (pid === undefined) throw new Error(`${command} cannot be run`)
  groups.add(pid)
  let stopped: Promise<void> | undefined
  const address = `127.0.0.1:${port}`
  return {
    address,
    baseUrl: `http://${address}`,
    pid,
    logs: () => logs,
    exited,
    stop: () => {
      stopped ??= stopGroup(pid, port).finally(clean)
      return stopped
    },
  }
}

function endOf(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => {
    child.once('error', () => resolve(null))
    child.once('exit', (code) => resolve(code))
  })
}

async function stopGroup(group: number, port: number): Promise<void> {
  signal(group, 'SIGTERM')
  if (!(await until(stopWithinMs, async () => !isAlive(group)))) signal(group, 'SIGKILL')
  const gone = await until(stopWithinMs, async () => !isAlive(group) && !(await isOpen(port)))
  if (!gone) throw new Error(`group ${group} or its port ${port} is still there`)
  groups.delete(group)
  deadGroups.add(group)
}

function signal(group: number, name: NodeJS.Signals): void {
  if (deadGroups.has(group)) return
  try {
    process.kill(-group, name)
  } catch {
    // Nobody is left in it.
  }
}

/** Whether a member of the group runs; a zombie that nobody has collected does not. */
export function isAlive(group: number): boolean {
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const stat = statOf(entry)
    // Behind the name in parentheses: state, parent, group.
    const [state, , itsGroup] = stat.slice(stat.lastIndexOf(') ') + 2).split(' ')
    if (Number(itsGroup) === group && state !== 'Z' && state !== 'X') return true
  }
  return false
}

function statOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return ''
  }
}

async function isOpen(port: number): Promise<boolean> {
  return (await probe(`http://127.0.0.1:${port}/`)) !== undefined
}

/** One GET over a connection of its own, given up after 2 s; undefined when nothing answered. */
export function probe(url: string, timeoutMs = 2_000): Promise<{ status: number; body: string } | undefined> {
  return new Promise((resolve) => {
    const request = get(url, { agent: false, signal: AbortSignal.timeout(timeoutMs) }, (response) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (chunk) => {
        body += chunk
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }))
      response.on('error', () => resolve(undefined))
    })
    request.on('error', () => resolve(undefined))
  })
}

/** Asks until the answer is yes or the time is over; says which. */
export async function until(withinMs: number, ask: () => Promise<boolean>): Promise<boolean> {
  const end = performance.now() + withinMs
  for (;;) {
    if (await ask()) return true
    if (performance.now() > end) return false
    await delay(50)
  }
}

/** Waits until the server says it is ready; rejects with its logs when it ends or the time is over. */
export async function untilReady(
  server: ServerProcess,
  path: string,
  accept: (status: number, body: string) => boolean = (status) => status === 200,
  withinMs = 120_000,
): Promise<void> {
  let ended = false
  void server.exited.then(() => {
    ended = true
  })
  const ready = await until(withinMs, async () => {
    const answer = await probe(`${server.baseUrl}${path}`)
    return ended || (answer !== undefined && accept(answer.status, answer.body))
  })
  if (ready && !ended) return
  await server.stop()
  throw new Error(`the server ${ended ? 'ended' : 'was not ready in time'}:\n${server.logs().slice(-4_000)}`)
}

/** Ports that were free a moment ago. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, () => {
      const server = createServer()
      return new Promise<typeof server>((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)))
    }),
  )
  return Promise.all(
    servers.map((server) => {
      const address = server.address()
      const port = typeof address === 'object' && address !== null ? address.port : 0
      return new Promise<number>((resolve) => server.close(() => resolve(port)))
    }),
  )
}
