/** Runs a model server as a process group of this host. Owns the job's folder below `root`; refuses other hosts' jobs. */
import { spawn } from 'node:child_process'
import { open, readdir, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ServiceError } from '../contracts/errors.ts'
import type { Observation, Started } from '../contracts/validation-record.ts'
import { deadlineIn, sleepWithin } from '../protocols/deadline.ts'
import { type Job, jobNameOf, jobSpecDigest, launchOf } from './job.ts'
import { claimJobFile, type JobFile, logFile, readJobFile, writeJobFile } from './job-folder.ts'
import { makeRunner, type RunnerOptions, textOf } from './lifecycle.ts'
import { tailOf } from './output.ts'
import { endProcesses, jobMark } from './process-group.ts'
import type { LaunchOrder } from './process-supervisor.ts'
import { isAlive } from './process-table.ts'
import type { IsOver, JobPlatform, Runner, Sweep } from './runner.ts'

export interface ProcessSettings {
  /** Folder of this host that holds one folder per job. */
  root: string
  /** What every server inherits: PATH, HOME, LANG. The worker's own environment, secrets included, it does not. */
  env?: Record<string, string>
}

/** Longest wait for the supervisor to say that the server was spawned. */
const spawnMs = 20_000
const defaultEnv = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' }

export function makeProcessRunner(settings: ProcessSettings, job: Job, options?: RunnerOptions): Runner {
  return makeRunner(job, makeProcessPlatform(settings, job), options)
}

function makeProcessPlatform(settings: ProcessSettings, job: Job): JobPlatform {
  const folder = join(settings.root, jobNameOf(job.key))
  return {
    async create() {
      if ((await readJobFile(folder, 'stopped.json')) !== undefined) {
        throw new ServiceError('ALREADY_STARTED', 'the job of this key has been stopped')
      }
      const asked: JobFile = {
        specDigest: jobSpecDigest(job),
        workflowId: job.ref.workflowId,
        createdAt: new Date().toISOString(),
        expiresAt: job.expiresAt,
        ports: await freePorts(Object.keys(job.binary.ports)),
      }
      const first = await claimJobFile(folder, 'job.json', asked)
      const agreed = first ? asked : await readJobFile(folder, 'job.json')
      if (agreed?.specDigest !== asked.specDigest) {
        throw new ServiceError('CONFIG_INVALID', 'another job runs under the key of this attempt')
      }
      await launch(folder, orderOf(settings, job, folder, agreed))
      return await spawned(folder, job, agreed, !first)
    },

    async inspect() {
      return await inspect(folder)
    },

    async logs(tailBytes) {
      const file = await open(join(folder, logFile)).catch(() => undefined)
      if (file === undefined) return undefined
      try {
        const { size } = await file.stat()
        const length = Math.min(size, tailBytes)
        const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length)
        return tailOf(buffer.subarray(0, bytesRead), tailBytes)
      } finally {
        await file.close()
      }
    },

    async remove(graceSeconds, deadline) {
      await writeJobFile(folder, 'stopped.json', { expiresAt: job.expiresAt })
      const removal = await endProcesses(folder, jobNameOf(job.key), graceSeconds, deadline)
      if (removal.gone) await emptyFolder(folder)
      return removal
    },

    removeAgainMs: (round) => Math.min(15_000, 1000 * 2 ** (round - 1)),
    close() {},
  }
}

function orderOf(settings: ProcessSettings, job: Job, folder: string, agreed: JobFile): LaunchOrder {
  const launch = launchOf(job, { ports: agreed.ports, modelPath: job.model.path ?? '' })
  return {
    folder,
    command: [...launch.command, ...launch.args],
    cwd: job.binary.cwd ?? process.cwd(),
    env: { ...defaultEnv, ...settings.env, ...launch.env, ...jobMark(jobNameOf(job.key)) },
    ...(job.limits.memoryBytes !== undefined && { memoryLimitBytes: job.limits.memoryBytes }),
  }
}

/** Starts a supervisor; the claim in the folder makes a second one harmless. */
async function launch(folder: string, order: LaunchOrder): Promise<void> {
  if ((await readJobFile(folder, 'supervisor.json')) !== undefined) return
  // Source and built package differ in the file's ending only.
  const script = fileURLToPath(
    new URL(import.meta.url).href.replace(/process\.(ts|js)$/, 'process-supervisor.$1'),
  )
  const supervisor = spawn(process.execPath, [script], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  await new Promise<void>((resolve, reject) => {
    supervisor.once('error', (cause) =>
      reject(new ServiceError('PLATFORM_UNAVAILABLE', 'the supervisor cannot be started', { cause })),
    )
    // A supervisor that lost the claim may close its end early.
    supervisor.stdin.once('error', () => resolve())
    supervisor.stdin.end(`${JSON.stringify(order)}\n`, resolve)
  })
  supervisor.unref()
}

async function spawned(folder: string, job: Job, agreed: JobFile, adopted: boolean): Promise<Started> {
  const deadline = deadlineIn(spawnMs)
  for (;;) {
    // Looked at before the files: what a supervisor wrote before it ended is there to be read then.
    const supervisor = await readJobFile(folder, 'supervisor.json')
    const over = supervisor !== undefined && !(await isAlive(supervisor.pid, supervisor.startTime))
    const [server, exit] = [await readJobFile(folder, 'server.json'), await readJobFile(folder, 'exit.json')]
    if (exit?.error !== undefined) {
      throw new ServiceError('CONFIG_INVALID', `servingSpec.binary.command: cannot be run: ${exit.error}`)
    }
    if (server !== undefined) {
      return { jobKey: job.key, platformRef: `group ${server.pid}`, createdAt: agreed.createdAt, adopted }
    }
    if ((await readJobFile(folder, 'stopped.json')) !== undefined) {
      throw new ServiceError('ALREADY_STARTED', 'the job was stopped while it was starting')
    }
    if (over) {
      // Killed between claim and spawn. Never spawned twice.
      const { createdAt } = agreed
      return { jobKey: job.key, platformRef: `supervisor ${supervisor.pid}`, createdAt, adopted }
    }
    if (deadline.passed) throw new ServiceError('PLATFORM_UNAVAILABLE', 'the supervisor did not answer')
    await sleepWithin(10, deadline)
  }
}

async function inspect(folder: string): Promise<Observation | undefined> {
  const agreed = await readJobFile(folder, 'job.json')
  if (agreed === undefined) return undefined
  const peak = (await readJobFile(folder, 'peak.json'))?.bytes ?? null
  const server = await readJobFile(folder, 'server.json')
  if (server !== undefined && (await isAlive(server.pid, server.startTime))) {
    return {
      state: 'Running',
      endpoints: endpointsOf(agreed),
      peakMemoryBytes: peak,
      reason: 'process alive',
    }
  }
  const supervisor = await readJobFile(folder, 'supervisor.json')
  const supervised = supervisor !== undefined && (await isAlive(supervisor.pid, supervisor.startTime))
  // The server is gone, but its end may be on the way to the disk.
  const deadline = deadlineIn(server !== undefined && supervised ? 1000 : 0)
  let exit = await readJobFile(folder, 'exit.json')
  while (exit === undefined && !deadline.passed) {
    await sleepWithin(10, deadline)
    exit = await readJobFile(folder, 'exit.json')
  }
  if (exit === undefined) {
    if (server === undefined && (supervised || supervisor === undefined)) return { state: 'Scheduled' }
    const message = 'the process is gone and nobody saw it end'
    return { state: 'Aborted', failure: 'JOB_ABORTED', reason: 'lost', message, peakMemoryBytes: peak }
  }
  const oomKilled = exit.overLimit === true || exit.outOfMemory === true
  return {
    state: 'Aborted',
    failure: oomKilled ? 'OOM_KILLED' : 'JOB_ABORTED',
    oomKilled,
    reason: oomKilled ? 'OOMKilled' : 'exited',
    peakMemoryBytes: peak,
    ...(exit.code !== null && { exitCode: exit.code }),
    ...(exit.signal !== null && { signal: exit.signal }),
    ...(exit.error !== undefined && { message: exit.error }),
    ...(exit.overLimit && { message: 'held more memory than its limit' }),
  }
}

function endpointsOf(agreed: JobFile): Record<string, string> {
  return Object.fromEntries(Object.entries(agreed.ports).map(([name, port]) => [name, `127.0.0.1:${port}`]))
}

async function freePorts(names: string[]): Promise<Record<string, number>> {
  const servers = names.map(() => createServer())
  try {
    const ports = await Promise.all(
      servers.map(
        (server) =>
          new Promise<number>((resolve, reject) => {
            server.once('error', reject)
            server.listen(0, '127.0.0.1', () => {
              const address = server.address()
              resolve(typeof address === 'object' && address !== null ? address.port : 0)
            })
          }),
      ),
    )
    return Object.fromEntries(names.map((name, index) => [name, ports[index] ?? 0]))
  } finally {
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  }
}

async function emptyFolder(folder: string): Promise<void> {
  const names = await readdir(folder)
  // What to look for goes last: a stop that is interrupted here finds it again.
  const ordered = names.filter((name) => name !== 'stopped.json').toSorted((a) => (a === 'job.json' ? 1 : -1))
  for (const name of ordered) await rm(join(folder, name), { force: true })
}

/** Ends the jobs below `root` whose time or validation is over, and forgets stopped ones once they have expired. */
export async function sweepProcesses(settings: ProcessSettings, now: Date, isOver?: IsOver): Promise<Sweep> {
  const sweep: Sweep = { removed: [], failed: [] }
  const names = await readdir(settings.root).catch(() => [])
  for (const name of names.filter((entry) => entry.startsWith('iv-'))) {
    const folder = join(settings.root, name)
    try {
      const file = await readJobFile(folder, 'job.json')
      const expiresAt = (file ?? (await readJobFile(folder, 'stopped.json')))?.expiresAt
      if (expiresAt === undefined) continue
      const expired = new Date(expiresAt) <= now
      const left = file?.workflowId !== undefined && isOver !== undefined && (await isOver(file.workflowId))
      if (!expired && !left) continue
      await writeJobFile(folder, 'stopped.json', { expiresAt })
      const removal = await endProcesses(folder, name, 10, deadlineIn(30_000))
      if (!removal.gone) throw new Error(`still there: ${removal.leftovers.join(', ')}`)
      if (expired) await rm(folder, { recursive: true, force: true })
      else await emptyFolder(folder)
      sweep.removed.push(name)
    } catch (error) {
      sweep.failed.push({ job: name, error: textOf(error) })
    }
  }
  return sweep
}
