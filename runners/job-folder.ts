/** The files of one process job: what was asked, who supervises, what runs, how it ended. Shared with the supervisor. */
import { link, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** Written once by the start that came first. Holds no environment: that may contain secrets. */
export interface JobFile {
  specDigest: string
  workflowId?: string
  createdAt: string
  expiresAt: string
  ports: Record<string, number>
}

/** A process that can be recognised again. */
export interface Identity {
  pid: number
  startTime: string
}

export interface ExitFile {
  code: number | null
  signal: string | null
  /** The command could not be run at all. */
  error?: string
  /** The supervisor ended it for passing its memory limit. */
  overLimit?: boolean
  /** The kernel ended it: its cgroup's count of such ends has grown. */
  outOfMemory?: boolean
}

interface Files {
  'job.json': JobFile
  /** The claim: only the supervisor that wrote it may spawn. */
  'supervisor.json': Identity
  /** The server, leader of its own process group. */
  'server.json': Identity
  'exit.json': ExitFile
  'peak.json': { bytes: number }
  /** The tombstone: nothing may be spawned any more. It outlives the job until `expiresAt`. */
  'stopped.json': { expiresAt: string }
}
export type FileName = keyof Files

export const logFile = 'output.log'

/** Reads a file of the job; undefined when it is not there, or not whole because its writer was killed. */
export async function readJobFile<N extends FileName>(
  folder: string,
  name: N,
): Promise<Files[N] | undefined> {
  try {
    return JSON.parse(await readFile(join(folder, name), 'utf8'))
  } catch {
    return undefined
  }
}

/** Writes a file whole: a reader sees the old one or the new one. */
export async function writeJobFile<N extends FileName>(
  folder: string,
  name: N,
  content: Files[N],
): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const draft = await draftOf(folder, name, content)
  await rename(draft, join(folder, name))
}

/** Writes a file unless it is there; false: another one was first. */
export async function claimJobFile<N extends FileName>(
  folder: string,
  name: N,
  content: Files[N],
): Promise<boolean> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const draft = await draftOf(folder, name, content)
  try {
    await link(draft, join(folder, name))
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false
    throw error
  } finally {
    await rm(draft, { force: true })
  }
}

async function draftOf(folder: string, name: string, content: unknown): Promise<string> {
  const draft = join(folder, `.${name}.${process.pid}.${Math.random().toString(36).slice(2)}`)
  await writeFile(draft, JSON.stringify(content), { mode: 0o600 })
  return draft
}
