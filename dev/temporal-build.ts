/** Builds the Temporal executable from its Go module into the cache. Owns the build, not whether one is wanted. */
import { spawn } from 'node:child_process'
import { createWriteStream, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { finished } from 'node:stream/promises'
import { quoted } from './start-error.ts'
import { type Provide, temporalVersion } from './temporal-release.ts'

const progressEveryMs = 5_000

/** About three minutes on four cores. Everything the build says is kept beside the executable. */
export const buildTemporal: Provide = async (target, env, say) => {
  const bin = join(dirname(target), `.build-${process.pid}`)
  const log = join(dirname(target), 'build.log')
  mkdirSync(bin, { recursive: true })
  const began = performance.now()
  const progress = () => {
    const seconds = Math.round((performance.now() - began) / 1_000)
    say(`Building Temporal ${temporalVersion} with Go, once, a few minutes: ${seconds} s`)
  }
  progress()
  const timer = setInterval(progress, progressEveryMs)
  try {
    await goInstall(`github.com/temporalio/cli/cmd/temporal@${temporalVersion}`, { ...env, GOBIN: bin }, log)
    renameSync(join(bin, 'temporal'), target)
  } finally {
    clearInterval(timer)
    rmSync(bin, { recursive: true, force: true })
  }
}

async function goInstall(module: string, env: NodeJS.ProcessEnv, log: string): Promise<void> {
  const output = createWriteStream(log)
  // A program of the target system cannot be installed into GOBIN by a Go that is set to cross-compile.
  const child = spawn('go', ['install', module], {
    env: { ...env, GOFLAGS: '' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  child.stdout.pipe(output, { end: false })
  child.stderr.pipe(output, { end: false })
  const code = await new Promise<number | string>((done) => {
    child.on('error', (error: NodeJS.ErrnoException) =>
      done(error.code === 'ENOENT' ? 'Go is not installed' : error.message),
    )
    child.on('close', (exitCode) => done(exitCode ?? 'the build was stopped'))
  })
  output.end()
  await finished(output)
  if (typeof code === 'string') throw new Error(code)
  if (code !== 0) throw new Error(`go install: ${lastLine(log)} (all of it in ${log})`)
}

function lastLine(log: string): string {
  return quoted(readFileSync(log, 'utf8').trim().split('\n').at(-1) ?? '')
}
