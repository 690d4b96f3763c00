/**
 * Downloads the Temporal executable through the Temporal SDK into the cache. The SDK offers the download only as part
 * of starting a server, without a time limit: so it runs in a process of its own, which can be ended.
 */
import { spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { quoted } from './start-error.ts'
import { type Provide, temporalVersion } from './temporal-release.ts'

const timeLimitMs = 60_000

const program = `
  const { TestWorkflowEnvironment } = require('@temporalio/testing')
  const [version, downloadDir] = process.argv.slice(1)
  const executable = { type: 'cached-download', version, downloadDir }
  TestWorkflowEnvironment.createLocal({ server: { executable } }).then(
    (environment) => environment.teardown(),
    (error) => { process.stdout.write(String(error?.message ?? error)); process.exitCode = 1 },
  )`

/** Fails within a second without a network. */
export const downloadTemporal: Provide = async (target, env, say) => {
  const folder = join(dirname(target), `.download-${process.pid}`)
  mkdirSync(folder, { recursive: true })
  say(`Downloading Temporal ${temporalVersion}, once …`)
  try {
    await runDownload(folder, env)
    const file = downloaded(folder)
    chmodSync(file, 0o755)
    renameSync(file, target)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** In a process group of its own, so that a server which it started goes with it. */
async function runDownload(folder: string, env: NodeJS.ProcessEnv): Promise<void> {
  const args = ['-e', program, temporalVersion, folder]
  const options = { cwd: import.meta.dirname, detached: true, env } as const
  const child = spawn(process.execPath, args, { ...options, stdio: ['ignore', 'pipe', 'ignore'] })
  let words = ''
  child.stdout.on('data', (chunk) => {
    words += chunk
  })
  let late = false
  const timer = setTimeout(() => {
    late = true
    if (child.pid) process.kill(-child.pid, 'SIGKILL')
  }, timeLimitMs)
  const code = await new Promise<number | null>((done) => {
    child.on('error', () => done(null))
    child.on('close', done)
  })
  clearTimeout(timer)
  if (code === 0 || someFile(folder)) return
  throw new Error(late ? `not finished within ${timeLimitMs / 1_000} s` : shortened(words))
}

/** A finished download counts even if the server in it would not start in time. */
function someFile(folder: string): boolean {
  return existsSync(folder) && readdirSync(folder).some((name) => !name.includes('.download'))
}

function downloaded(folder: string): string {
  const files = readdirSync(folder).map((name) => join(folder, name))
  const largest = files.sort((a, b) => statSync(b).size - statSync(a).size)[0]
  if (!largest) throw new Error('the download left no file')
  return largest
}

/** The last two causes of the chain that the SDK reports. */
function shortened(message: string): string {
  return quoted(message).split(': ').slice(-2).join(': ') || 'the download failed'
}
