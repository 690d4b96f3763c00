/**
 * Remembers in a file which child a process started, so that a later start can stop the child of a parent that was
 * killed. Owns that file and the proof of identity; a process is never judged by its number alone.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** A process number together with the time at which that process began: numbers are used again, pairs are not. */
interface Identity {
  pid: number
  began: string
}

interface Note {
  child: Identity
  parent: Identity
}

export type Orphan = 'none' | 'stopped' | { ownedBy: number }

export function noteChild(file: string, pid: number): void {
  const note: Note = { child: identityOf(pid), parent: identityOf(process.pid) }
  writeFileSync(file, JSON.stringify(note))
}

export function forgetChild(file: string): void {
  rmSync(file, { force: true })
}

/**
 * Stops the noted child if it still runs and its parent does not. `ownedBy` is the process number of a parent that is
 * alive: then nothing was touched.
 */
export async function stopOrphan(file: string, graceMs = 5_000): Promise<Orphan> {
  const note = read(file)
  if (!note || !same(note.child)) {
    forgetChild(file)
    return 'none'
  }
  if (same(note.parent)) return { ownedBy: note.parent.pid }
  for (const [signal, waitMs] of [['SIGTERM', graceMs] as const, ['SIGKILL', 30_000] as const]) {
    signalTo(note.child.pid, signal)
    const until = performance.now() + waitMs
    while (same(note.child) && performance.now() < until) await sleep(20)
    if (!same(note.child)) break
  }
  forgetChild(file)
  return 'stopped'
}

function read(file: string): Note | undefined {
  try {
    const note: unknown = JSON.parse(readFileSync(file, 'utf8'))
    return isNote(note) ? note : undefined
  } catch {
    return undefined
  }
}

function isNote(value: unknown): value is Note {
  if (typeof value !== 'object' || value === null) return false
  return 'child' in value && isIdentity(value.child) && 'parent' in value && isIdentity(value.parent)
}

function isIdentity(value: unknown): value is Identity {
  if (typeof value !== 'object' || value === null || !('pid' in value) || !('began' in value)) return false
  return (
    typeof value.pid === 'number' && value.pid > 0 && typeof value.began === 'string' && value.began !== ''
  )
}

function identityOf(pid: number): Identity {
  return { pid, began: beginning(pid) ?? '' }
}

function same(identity: Identity): boolean {
  return beginning(identity.pid) === identity.began
}

/** When the process began, in whatever unit the system counts; undefined when it is gone or a zombie. */
function beginning(pid: number): string | undefined {
  try {
    // The name of the program stands in parentheses and may hold spaces: the fields after it count from the state, 3.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ')
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[22 - 3]
  } catch {
    if (process.platform === 'linux') return undefined
  }
  try {
    const stdio: ['ignore', 'pipe', 'ignore'] = ['ignore', 'pipe', 'ignore']
    return (
      execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8', stdio }).trim() ||
      undefined
    )
  } catch {
    return undefined
  }
}

function signalTo(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // Gone in the meantime.
  }
}
