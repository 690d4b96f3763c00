/**
 * The health check of a container: asks the process that runs in it, and exits 0 or 1. Starts and mends nothing.
 *
 *   node dist/deploy/healthcheck.js [api|worker|records|serve]     default: what process 1 of the container is
 */
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { Connection } from '@temporalio/client'
import { loadApi, loadRecords, loadServe, loadWorker, temporalConnection } from '../config.ts'

const limitMs = 8_000
/** A worker that waits for a task asks again every minute; Temporal remembers it for five. */
const pollsWithinMs = 100_000
const workflowTasks = 1

/** Resolves if the process is ready, rejects with the reason. */
const checks = {
  api: () => answers(`http://127.0.0.1:${loadApi().address.port}/ready`),
  records: () => answers(`http://127.0.0.1:${loadRecords().address.port}/ready`),
  serve: () => answers(`http://127.0.0.1:${loadServe().port}/v2/health/ready`),
  worker: workerReady,
}

type Process = keyof typeof checks

async function workerReady(): Promise<void> {
  const { metricsAddress } = loadWorker()
  if (metricsAddress === undefined) return workerPolls()
  const { host, port } = metricsAddress
  const reachable = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host
  return answers(`http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}/ready`)
}

async function answers(url: string): Promise<void> {
  const response = await fetch(url, { signal: AbortSignal.timeout(limitMs) })
  if (!response.ok) throw new Error(`${url} answers ${response.status}`)
}

/** Without a listener: Temporal knows who asks it for work, and from which host. */
async function workerPolls(): Promise<void> {
  const { temporal } = loadWorker()
  const { namespace, taskQueue } = temporal
  const connection = await Connection.connect({ ...temporalConnection(temporal), connectTimeout: limitMs })
  try {
    const { pollers } = await connection.withDeadline(Date.now() + limitMs, () =>
      connection.workflowService.describeTaskQueue({
        namespace,
        taskQueue: { name: taskQueue },
        taskQueueType: workflowTasks,
      }),
    )
    const own = `@${hostname()}`
    const here = pollers?.some(({ identity, lastAccessTime }) => {
      const lastMs = Number(lastAccessTime?.seconds ?? 0) * 1_000
      return identity?.endsWith(own) && Date.now() - lastMs < pollsWithinMs
    })
    if (!here) throw new Error(`no worker of ${hostname()} polls ${taskQueue}`)
  } finally {
    await connection.close()
  }
}

function isProcess(word: string | undefined): word is Process {
  return word !== undefined && Object.hasOwn(checks, word)
}

/** What a command has become: `node /app/dist/worker/main.js`, perhaps behind an init program. */
function processOne(): Process {
  const command = readFileSync('/proc/1/cmdline', 'utf8')
  const [, folder] = /\/dist\/(\w+)\/main\.js/.exec(command) ?? []
  if (folder === 'modelserver') return 'serve'
  return isProcess(folder) ? folder : 'api'
}

async function exitCode(asked: string | undefined): Promise<number> {
  try {
    await checks[isProcess(asked) ? asked : processOne()]()
    return 0
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    return 1
  }
}

// At once: a name that the network's server still looks up would hold the process until the engine's time limit.
if (import.meta.main) process.exit(await exitCode(process.argv[2]))
