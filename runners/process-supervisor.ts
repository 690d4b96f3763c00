/** Runs beside one process job: spawns the server as leader of its own group, waits for it, writes down how it ended. */
import { spawn } from 'node:child_process'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { claimJobFile, logFile, readJobFile, writeJobFile } from './job-folder.ts'
import { listProcesses, memoryKills, memoryOf, peakMemoryOf, readProcess } from './process-table.ts'

/** Comes on stdin, because it may hold secrets. */
export interface LaunchOrder {
  folder: string
  command: string[]
  cwd: string
  env: Record<string, string>
  memoryLimitBytes?: number
}

const longestSampleMs = 500

async function supervise(order: LaunchOrder): Promise<void> {
  const { folder, command, cwd, env } = order
  const self = await readProcess(process.pid)
  const claimed = await claimJobFile(folder, 'supervisor.json', {
    pid: process.pid,
    startTime: self?.startTime ?? '',
  })
  // First the claim, then the look at the tombstone: a stop sees one of us in either order.
  if (!claimed || (await readJobFile(folder, 'stopped.json')) !== undefined) return

  const log = await open(join(folder, logFile), 'a', 0o600)
  const [file = '', ...args] = command
  const killsBefore = await memoryKills()
  const server = spawn(file, args, { cwd, env, detached: true, stdio: ['ignore', log.fd, log.fd] })
  let overLimit = false
  const ended = new Promise<void>((resolve) => {
    server.once('error', (error) => {
      if (server.pid !== undefined) return
      void writeJobFile(folder, 'exit.json', { code: null, signal: null, error: error.message }).then(resolve)
    })
    server.once('exit', (code, signal) => {
      const written = async () => {
        // Exit by SIGKILL alone may be anybody's doing.
        const outOfMemory = signal === 'SIGKILL' && ((await memoryKills()) ?? 0) > (killsBefore ?? 0)
        await writeJobFile(folder, 'exit.json', { code, signal, overLimit, outOfMemory })
      }
      void written().then(resolve)
    })
  })
  if (server.pid !== undefined) {
    const { pid } = server
    const entry = await readProcess(pid)
    await writeJobFile(folder, 'server.json', { pid, startTime: entry?.startTime ?? '' })
    const sampling = sampleMemory(order, pid, ended, () => {
      overLimit = true
      process.kill(-pid, 'SIGKILL')
    })
    await Promise.all([ended, sampling])
  } else await ended
  await log.close()
}

/** Keeps the largest sum of high-water marks over the group; ends the group when it holds more than it may. */
async function sampleMemory(
  order: LaunchOrder,
  group: number,
  ended: Promise<void>,
  kill: () => void,
): Promise<void> {
  let over = false
  let peak = 0
  void ended.then(() => {
    over = true
  })
  for (let pauseMs = 20; !over; pauseMs = Math.min(longestSampleMs, pauseMs * 2)) {
    const members = (await listProcesses()).filter((entry) => entry.group === group)
    const sums = await Promise.all(members.map(({ pid }) => peakMemoryOf(pid)))
    const bytes = sums.reduce((sum, one) => sum + one, 0)
    if (bytes > peak) {
      peak = bytes
      await writeJobFile(order.folder, 'peak.json', { bytes })
    }
    if (order.memoryLimitBytes !== undefined && bytes > order.memoryLimitBytes) {
      const held = await Promise.all(members.map(({ pid }) => memoryOf(pid)))
      if (held.reduce((sum, one) => sum + one, 0) > order.memoryLimitBytes) kill()
    }
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, pauseMs).unref())])
  }
}

// A stop signals the server's group; whoever signals this process by mistake must not lose the exit code.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => {})
const order = await text(process.stdin)
// Cut off before the end: the starter was killed while it wrote. Nothing was claimed, so its retry begins anew.
if (order.endsWith('\n')) await supervise(JSON.parse(order))
