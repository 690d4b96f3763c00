/**
 * Finds the Temporal executable that `npm start` and the tests run: one that is there, else a download, else a build.
 * Owns the order and the version; starts no server.
 */
import { execFile } from 'node:child_process'
import { accessSync, constants, readdirSync, rmSync, statSync } from 'node:fs'
import { delimiter, dirname, join, resolve } from 'node:path'
import { cacheFolder, type Environment, withLock } from './cache.ts'
import { StartError } from './start-error.ts'
import { buildTemporal } from './temporal-build.ts'
import { downloadTemporal } from './temporal-download.ts'
import { oldestServer, type Provide, temporalVersion } from './temporal-release.ts'

export interface TemporalBinary {
  path: string
  /** Version of the server inside, such as `1.29.1`. */
  server: string
  source: 'TEMPORAL_CLI_PATH' | 'PATH' | 'cache' | 'download' | 'build'
}

export interface FindOptions {
  env: Environment
  /** Hears one line at a time of what takes long. */
  say: (line: string) => void
  /** Replaced in tests: the real ones need a network and minutes. */
  download?: Provide
  build?: Provide
}

/** @throws StartError naming every way to provide an executable when none works. */
export async function findTemporal(options: FindOptions): Promise<TemporalBinary> {
  const { env, say } = options
  if (env.TEMPORAL_CLI_PATH) return configured(resolve(env.TEMPORAL_CLI_PATH))

  const refused: string[] = []
  for (const path of onPath(env)) {
    const server = await serverVersion(path)
    if (server && recentEnough(server)) return { path, server, source: 'PATH' }
    refused.push(`temporal on PATH (${path}): ${server ? `its server ${server} is too old` : 'does not run'}`)
    say(
      `Not using ${path}: ${server ? `its server ${server} is older than ${oldestServer}` : 'it does not run'}`,
    )
  }

  const folder = join(cacheFolder(env), 'temporal', temporalVersion)
  const target = join(folder, 'temporal')
  const cached = await inCache(target)
  if (cached) return cached
  try {
    const onWait = () => say('Another process is getting Temporal; waiting for it …')
    return await withLock(join(folder, 'lock'), onWait, () => provide(target, options, refused))
  } catch (error) {
    if (error instanceof StartError) throw error
    throw new StartError(
      `the cache folder ${folder} cannot be used: ${reason(error)} (PERDURE_CACHE_DIR sets another)`,
    )
  }
}

async function configured(path: string): Promise<TemporalBinary> {
  if (!executable(path)) throw new StartError(`TEMPORAL_CLI_PATH: ${path} is not an executable file`)
  const server = await serverVersion(path)
  if (!server)
    throw new StartError(`TEMPORAL_CLI_PATH: ${path} does not answer --version like the Temporal CLI`)
  if (!recentEnough(server)) {
    throw new StartError(`TEMPORAL_CLI_PATH: the server ${server} in ${path} is older than ${oldestServer}`)
  }
  return { path, server, source: 'TEMPORAL_CLI_PATH' }
}

async function inCache(path: string): Promise<TemporalBinary | undefined> {
  const server = executable(path) ? await serverVersion(path) : undefined
  return server ? { path, server, source: 'cache' } : undefined
}

async function provide(target: string, options: FindOptions, refused: string[]): Promise<TemporalBinary> {
  const { env, say, download = downloadTemporal, build = buildTemporal } = options
  const cached = await inCache(target)
  if (cached) return cached
  removeUnfinished(dirname(target))
  for (const [source, get] of [['download', download] as const, ['build', build] as const]) {
    try {
      await get(target, env, say)
      const server = await serverVersion(target)
      if (server) return { path: target, server, source }
      refused.push(`${source}: what came does not run here`)
    } catch (error) {
      refused.push(`${source}: ${reason(error)}`)
      say(`Temporal: no ${source} (${reason(error)})`)
    }
  }
  throw new StartError(
    [
      'No Temporal server to run. Provide one in any of these ways:',
      '  TEMPORAL_ADDRESS=host:port          a server that is already running',
      '  TEMPORAL_CLI_PATH=/path/temporal    an executable of the Temporal CLI',
      '  temporal on PATH                    install the Temporal CLI (docs.temporal.io/cli)',
      '  a network                           it is downloaded once',
      `  Go 1.25 or newer                    it is built once: go install github.com/temporalio/cli/cmd/temporal@${temporalVersion}`,
      'Tried:',
      ...refused.map((line) => `  ${line}`),
    ].join('\n'),
  )
}

/** What a download or build left that was killed; under the lock nobody else is at work here. */
function removeUnfinished(folder: string): void {
  const names = readdirSync(folder).filter((name) => /^\.(build|download)-\d+$/.test(name))
  for (const name of names) rmSync(join(folder, name), { recursive: true, force: true })
}

function onPath(env: Environment): string[] {
  const folders = (env.PATH ?? '').split(delimiter).filter((folder) => folder !== '')
  return [...new Set(folders.map((folder) => join(folder, 'temporal')))].filter(executable)
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}

/** The number of the server, not of the CLI: one built by `go install` calls itself 0.0.0-DEV. */
function serverVersion(path: string): Promise<string | undefined> {
  return new Promise((done) => {
    execFile(path, ['--version'], { timeout: 30_000 }, (error, stdout) => {
      done(error ? undefined : /\bServer (\d+\.\d+\.\d+)/.exec(stdout)?.[1])
    })
  })
}

function recentEnough(version: string): boolean {
  const [is, least] = [version, oldestServer].map((text) => text.split('.').map(Number))
  for (const [place, number] of least!.entries()) {
    if (is![place] !== number) return (is![place] ?? 0) > number
  }
  return true
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
