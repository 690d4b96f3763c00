/**
 * Fails the test that leaves a process or a listening port behind, after everything it registered with
 * `onTestFinished` has run, and ends what was left. What `beforeAll` started is judged at the end of the file.
 * Looks in /proc; where there is none, it sees nothing.
 */
import { randomUUID } from 'node:crypto'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeEach } from 'vitest'

/** What was stopped may take a moment to go, the more so on a busy machine. */
const goneWithinMs = Number(process.env.PERDURE_LEAKS_GONE_WITHIN_MS ?? 10_000)

/** Every process that descends from this one inherits it, also one whose parent is gone. */
const mark = `PERDURE_TEST_WORKER=${randomUUID()}`
process.env.PERDURE_TEST_WORKER = mark.split('=')[1]

interface Process {
  pid: number
  parent: number
  /** Process number and time of birth: numbers are used again. */
  id: string
}

interface Held {
  processes: Map<string, Process>
  ports: Set<number>
}

const kept = new Set<number>()

/** Says that this process may outlive the test that started it: something shared by the file, started late. */
export function keepAfterTest(pid: number): void {
  kept.add(pid)
}

const atStart = holding()

beforeEach((context) => {
  // Side by side, nobody can say whose a new process is: the end of the file does.
  if (context.task.concurrent) return
  const before = holding()
  // The first registration runs last.
  context.onTestFinished(() => check(before, true), goneWithinMs + 30_000)
})

afterAll(() => check(atStart, false), goneWithinMs + 30_000)

async function check(before: Held, mayKeep: boolean): Promise<void> {
  const until = performance.now() + goneWithinMs
  for (;;) {
    const now = holding()
    const processes = strangers(now, before, mayKeep)
    const ports = [...now.ports].filter((port) => !before.ports.has(port))
    if (processes.length === 0 && ports.length === 0) return
    if (performance.now() > until) {
      const names = [
        ...processes.map(({ pid }) => `process ${pid} (${commandLine(pid)})`),
        ...ports.map((port) => `port ${port}`),
      ]
      for (const { pid } of processes) end(pid)
      // Told once: the end of the file need not repeat it.
      for (const port of ports) atStart.ports.add(port)
      throw new Error(`left behind: ${names.join(', ')}`)
    }
    await sleep(25)
  }
}

/** New processes, without those that an older one of ours started: a database forks for each connection. */
function strangers(now: Held, before: Held, mayKeep: boolean): Process[] {
  const byPid = new Map([...now.processes.values()].map((process) => [process.pid, process]))
  const known = (process: Process) => before.processes.has(process.id) || (mayKeep && kept.has(process.pid))
  return [...now.processes.values()].filter((candidate) => {
    for (let one: Process | undefined = candidate; one; one = byPid.get(one.parent))
      if (known(one)) return false
    return true
  })
}

function holding(): Held {
  return { processes: descendants(), ports: listeningPorts() }
}

function descendants(): Map<string, Process> {
  const all = numbersIn('/proc').flatMap((pid) => describe(pid) ?? [])
  const ours = new Map<number, Process>()
  for (const process of all) if (hasMark(process.pid)) ours.set(process.pid, process)
  // A child that was given an environment of its own has no mark.
  for (let grown = -1; grown !== ours.size; ) {
    grown = ours.size
    for (const one of all) if (one.parent === process.pid || ours.has(one.parent)) ours.set(one.pid, one)
  }
  ours.delete(process.pid)
  return new Map([...ours.values()].map((one) => [one.id, one]))
}

function describe(pid: number): Process | undefined {
  const stat = text(`/proc/${pid}/stat`)
  // The name of the program stands in parentheses and may hold spaces: the fields after it count from the state, 3.
  const fields = stat.slice(stat.lastIndexOf(') ') + 2).split(' ')
  if (stat === '' || fields[0] === 'Z' || fields[0] === 'X') return undefined
  return { pid, parent: Number(fields[4 - 3]), id: `${pid}@${fields[22 - 3]}` }
}

function hasMark(pid: number): boolean {
  return text(`/proc/${pid}/environ`).includes(mark)
}

function commandLine(pid: number): string {
  return text(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim().slice(0, 200) || 'already gone'
}

/** Ports on which this very process listens: those of other processes go with their process. */
function listeningPorts(): Set<number> {
  const sockets = new Set(
    numbersIn('/proc/self/fd').flatMap(
      (fd) => /^socket:\[(\d+)\]$/.exec(link(`/proc/self/fd/${fd}`))?.[1] ?? [],
    ),
  )
  const listening = '0A'
  const rows = ['/proc/self/net/tcp', '/proc/self/net/tcp6'].flatMap((file) =>
    text(file).split('\n').slice(1),
  )
  const ports = new Set<number>()
  for (const row of rows) {
    const [, local, , state, , , , , , inode] = row.trim().split(/\s+/)
    if (state === listening && inode && sockets.has(inode))
      ports.add(Number.parseInt(local!.split(':')[1]!, 16))
  }
  return ports
}

function numbersIn(folder: string): number[] {
  try {
    return readdirSync(folder).map(Number).filter(Number.isInteger)
  } catch {
    return []
  }
}

function text(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

function link(file: string): string {
  try {
    return readlinkSync(file)
  } catch {
    return ''
  }
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // Gone in the meantime.
  }
}
