/** Reads the machine's process table: who lives, in which group, since when, with how much memory. Signals nobody. */
import { execFile } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { promisify } from 'node:util'

export interface ProcessEntry {
  pid: number
  group: number
  /** Opaque; pids are reused, a pid with its start time is not. */
  startTime: string
  /** Ended, but not yet collected by its parent. */
  zombie: boolean
}

/** All processes, zombies included. Reads /proc, or asks `ps` where there is none. */
export async function listProcesses(): Promise<ProcessEntry[]> {
  if (process.platform !== 'linux') return await listByPs()
  const names = await readdir('/proc')
  const entries = await Promise.all(
    names.filter((name) => /^\d+$/.test(name)).map((name) => readProcess(Number(name))),
  )
  return entries.filter((entry) => entry !== undefined)
}

/** One process; undefined when there is none of that pid. */
export async function readProcess(pid: number): Promise<ProcessEntry | undefined> {
  if (process.platform !== 'linux') return (await listByPs()).find((entry) => entry.pid === pid)
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  // The second field is the name in brackets and may hold anything; see proc_pid_stat(5).
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return {
    pid,
    group: Number(fields[2]),
    startTime: fields[19] ?? '',
    zombie: fields[0] === 'Z' || fields[0] === 'X',
  }
}

/** Whether the process of that pid and start time still runs. */
export async function isAlive(pid: number, startTime: string): Promise<boolean> {
  const entry = await readProcess(pid)
  return entry !== undefined && !entry.zombie && entry.startTime === startTime
}

/** High-water mark of resident memory in bytes; 0 when the process is gone or the system cannot tell. */
export async function peakMemoryOf(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(text)?.[1] ?? 0) * 1024
}

/** Resident memory in bytes at this moment; 0 as above. */
export async function memoryOf(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(text)?.[1] ?? 0) * 1024
}

/** How many processes of this one's cgroup the kernel has killed for memory so far; undefined where nobody counts them. */
export async function memoryKills(): Promise<number | undefined> {
  const groups = await readFile('/proc/self/cgroup', 'utf8').catch(() => '')
  const pathOf = (line: RegExp) => line.exec(groups)?.[1] ?? '/'
  const [unified, memory] = [pathOf(/^0::(.*)$/m), pathOf(/^\d+:memory:(.*)$/m)]
  // See cgroups(7). A container may be told the host's path and be shown its own group at the root.
  for (const file of [
    `/sys/fs/cgroup${unified}/memory.events`,
    `/sys/fs/cgroup/memory${memory}/memory.oom_control`,
    '/sys/fs/cgroup/memory.events',
    '/sys/fs/cgroup/memory/memory.oom_control',
  ]) {
    const count = /^oom_kill (\d+)$/m.exec(await readFile(file, 'utf8').catch(() => ''))?.[1]
    if (count !== undefined) return Number(count)
  }
  return undefined
}

/** Whether the process was started with `entry` (`NAME=value`) in its environment. */
export async function startedWith(pid: number, entry: string): Promise<boolean> {
  const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')
  return environment.split('\0').includes(entry)
}

async function listByPs(): Promise<ProcessEntry[]> {
  const { stdout } = await promisify(execFile)('ps', ['-A', '-o', 'pid=,pgid=,stat=,lstart='])
  return stdout.split('\n').flatMap((line) => {
    const [, pid, group, state, startTime] = /^\s*(\d+)\s+(\d+)\s+(\S+)\s+(.+?)\s*$/.exec(line) ?? []
    if (pid === undefined || startTime === undefined) return []
    return [{ pid: Number(pid), group: Number(group), startTime, zombie: state?.startsWith('Z') ?? false }]
  })
}
