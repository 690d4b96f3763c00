/**
 * Gives the tests a Docker engine: the one that runs, else one started here, installed if need be. Only an engine that
 * was started here is ever stopped; its images and containers live in a temporary folder of its own.
 *
 *   node scripts/docker-engine.mjs start | stop
 */
import { execFileSync, spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { withLock } from '../dev/cache.ts'
import { aptInstall } from './apt.mjs'
import { findExecutable, lastLine } from './run.mjs'

const folder = join(tmpdir(), 'perdure-docker-engine')
const pidFile = join(folder, 'dockerd.pid')
const logFile = join(folder, 'dockerd.log')
const starterFile = join(folder, 'started-by')
const readyWithinMs = 60_000
const stoppedWithinMs = 30_000

/** Version of the engine that answers, or undefined. */
export function engineVersion() {
  try {
    const args = ['version', '--format', '{{.Server.Version}}']
    const version = execFileSync('docker', args, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: 10_000,
    })
    return version.trim() || undefined
  } catch {
    return undefined
  }
}

/** @returns {Promise<{version: string, startedHere: boolean}>} */
export async function startEngine() {
  const running = engineVersion()
  if (running) return { version: running, startedHere: ownPid() !== undefined }
  return withLock(`${folder}.lock`, () => {}, installAndStart)
}

async function installAndStart() {
  const running = engineVersion()
  if (running) return { version: running, startedHere: ownPid() !== undefined }
  if (process.getuid?.() !== 0) throw new Error('no Docker engine answers, and only root can start one')
  const missing = ['dockerd', 'containerd', 'runc', 'iptables', 'docker'].some((name) => !find(name))
  if (missing) await aptInstall('docker.io', 'iptables', 'busybox-static')
  const dockerd = find('dockerd')
  if (!dockerd) throw new Error('the package docker.io brought no dockerd')
  return { version: await launch(dockerd), startedHere: true }
}

/** Ends the engine that was started here, and with it its containers. */
export async function stopEngine() {
  const pid = ownPid()
  if (pid === undefined) return
  process.kill(pid, 'SIGTERM')
  const until = performance.now() + stoppedWithinMs
  while (ownPid() === pid && performance.now() < until) await sleep(100)
  if (ownPid() === pid) process.kill(pid, 'SIGKILL')
  // Mounts that outlive a killed container make this fail: the next start uses what is left.
  rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
}

/** PERDURE_TEST_RUN of who started the engine that runs from here. */
export function startedBy() {
  return ownPid() === undefined ? undefined : readFileSync(starterFile, 'utf8')
}

async function launch(dockerd) {
  mkdirSync(folder, { recursive: true })
  writeFileSync(starterFile, process.env.PERDURE_TEST_RUN ?? '')
  const log = openSync(logFile, 'w')
  const args = [
    '--data-root',
    join(folder, 'data'),
    '--exec-root',
    join(folder, 'exec'),
    '--pidfile',
    pidFile,
  ]
  // Where the clients of this environment look for it.
  const host = process.env.DOCKER_HOST
  if (host?.startsWith('unix://')) args.push('--host', host)
  // The mark of a test's processes must not reach the engine: it outlives the test file that asked for it.
  const { PERDURE_TEST_WORKER: _, ...env } = process.env
  const child = spawn(dockerd, args, { detached: true, env, stdio: ['ignore', log, log] })
  closeSync(log)
  let ended = false
  child.on('exit', () => {
    ended = true
  })
  child.unref()
  const until = performance.now() + readyWithinMs
  while (performance.now() < until) {
    const version = engineVersion()
    if (version) return version
    if (ended) throw new Error(`dockerd does not run here: ${lastLine(logFile)}`)
    await sleep(250)
  }
  child.kill('SIGKILL')
  throw new Error(`dockerd did not answer within ${readyWithinMs / 1_000} s: ${lastLine(logFile)}`)
}

/** The number in the file counts only if that process is the engine of this folder. */
function ownPid() {
  try {
    const pid = Number(readFileSync(pidFile, 'utf8'))
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(pidFile) ? pid : undefined
  } catch {
    return undefined
  }
}

function find(name) {
  return findExecutable(name, ['/usr/sbin', '/sbin'])
}

if (import.meta.main) {
  const action = process.argv[2] ?? 'start'
  if (action === 'stop') await stopEngine()
  else console.log(JSON.stringify(await startEngine()))
}
