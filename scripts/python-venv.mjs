#!/usr/bin/env node
/**
 * Makes and finds the Python environments that tests and benches use, one per named set of pinned packages, kept in
 * the user's cache folder. Owns no server process; refuses unnamed sets. Runs on Node 20 without dependencies.
 *
 *   node scripts/python-venv.mjs mlserver kserve cog     makes what is missing, prints each interpreter
 */
import { spawn } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs'
import { mkdir, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'

export const requirements = {
  cog: ['cog==0.23.1', 'coglet==0.23.1'],
  mlserver: ['mlserver==1.7.1', 'mlserver-sklearn==1.7.1', 'scikit-learn==1.9.1', 'uvloop==0.21.0'],
  kserve: ['kserve==0.21.0', 'scikit-learn==1.9.1', 'joblib==1.6.0'],
  clients: ['tritonclient[http]==2.73.0'],
  replicate: ['replicate==1.0.7'],
}

const lockBeatMs = 2_000
const lockStaleMs = 60_000

function cacheDir() {
  const { PERDURE_CACHE_DIR, XDG_CACHE_HOME } = process.env
  return (
    PERDURE_CACHE_DIR ||
    (XDG_CACHE_HOME ? join(XDG_CACHE_HOME, 'perdure') : join(homedir(), '.cache', 'perdure'))
  )
}

/** The folder of a set. Environments lie in it under random names; the link `current` names the finished one. */
function homeOf(name) {
  const packages = Object.hasOwn(requirements, name) ? requirements[name] : undefined
  if (!packages)
    throw new Error(
      `no Python environment is named ${name}: there are ${Object.keys(requirements).join(', ')}`,
    )
  const key = createHash('sha256').update(packages.join('\n')).digest('hex').slice(0, 12)
  return join(cacheDir(), 'python', `${name}-${key}`)
}

/** `{python, bin}` of a finished environment, or undefined. */
export function existingVenv(name) {
  const current = join(homeOf(name), 'current')
  // A link to an environment whose base interpreter was removed counts as absent.
  if (!existsSync(join(current, 'bin', 'python'))) return undefined
  const bin = join(realpathSync(current), 'bin')
  return { python: join(bin, 'python'), bin }
}

/** Gives the environment of a set, made first if absent: minutes and hundreds of megabytes the first time. */
export async function ensureVenv(name) {
  const home = homeOf(name)
  mkdirSync(home, { recursive: true })
  for (;;) {
    const venv = existingVenv(name)
    if (venv) return venv
    const unlock = await lock(join(home, 'lock'))
    if (!unlock) {
      await delay(200)
      continue
    }
    try {
      if (!existingVenv(name)) await build(home, requirements[name])
    } finally {
      await unlock()
    }
  }
}

/**
 * Builds under a name of its own, because an environment cannot be moved, and publishes it by renaming a link over
 * `current`: nobody ever sees half of one, even if two build at once.
 */
async function build(home, packages) {
  removeLeftovers(home)
  const id = randomUUID()
  const folder = join(home, id)
  try {
    await run('python3', ['-m', 'venv', folder])
    await run(join(folder, 'bin', 'python'), [
      ...['-m', 'pip', 'install', '--no-input', '--disable-pip-version-check', '--quiet'],
      ...packages,
    ])
    await symlink(id, join(home, `${id}.link`), 'dir')
    await rename(join(home, `${id}.link`), join(home, 'current'))
  } catch (error) {
    await rm(folder, { recursive: true, force: true })
    throw error
  }
}

/** Environments of builders that were killed: nobody names them, and nobody has written to them for a day. */
function removeLeftovers(home) {
  const current = existsSync(join(home, 'current')) ? realpathSync(join(home, 'current')) : undefined
  for (const entry of readdirSync(home, { withFileTypes: true })) {
    const folder = join(home, entry.name)
    if (!entry.isDirectory() || entry.name === 'lock' || folder === current) continue
    if (Date.now() - statSync(folder).mtimeMs > 86_400_000)
      rm(folder, { recursive: true, force: true }).catch(() => {})
  }
}

/**
 * Takes the lock folder, or returns undefined while another holds it. The holder touches it; one untouched for a
 * minute belonged to a process that died and is renamed away. A lock lost that way costs double work, never a broken
 * environment, so nothing else is needed.
 */
async function lock(path) {
  try {
    await mkdir(path)
  } catch (error) {
    if (error.code !== 'EEXIST') throw error
    const touched = mtimeOf(path)
    if (touched !== undefined && Date.now() - touched > lockStaleMs) {
      const aside = `${path}.${randomUUID()}`
      await rename(path, aside).catch(() => {})
      await rm(aside, { recursive: true, force: true })
    }
    return undefined
  }
  const token = randomUUID()
  await writeFile(join(path, 'owner'), token)
  const beat = setInterval(() => utimes(path, new Date(), new Date()).catch(() => {}), lockBeatMs)
  return async () => {
    clearInterval(beat)
    const owner = existsSync(join(path, 'owner')) ? readFileSync(join(path, 'owner'), 'utf8') : undefined
    if (owner === token) await rm(path, { recursive: true, force: true })
  }
}

function mtimeOf(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs
}

/** Runs a command to its end; a failure carries the last lines it wrote. */
function run(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    let tail = ''
    const keep = (chunk) => {
      tail = (tail + chunk).slice(-4_000)
    }
    child.stdout.on('data', keep)
    child.stderr.on('data', keep)
    child.on('error', (error) => reject(new Error(`${command} cannot be run: ${error.message}`)))
    child.on('close', (code) => {
      if (code === 0) resolve()
      else reject(new Error(`${command} ${args.slice(0, 3).join(' ')} … ended with ${code}:\n${tail}`))
    })
  })
}

if (process.argv[1] && import.meta.url === pathToFileURL(realpathSync(process.argv[1])).href) {
  const names = process.argv.slice(2)
  const failed = []
  for (const name of names.length > 0 ? names : Object.keys(requirements)) {
    try {
      console.log(`${name}  ${(await ensureVenv(name)).python}`)
    } catch (error) {
      failed.push(name)
      console.error(`${name}: ${error.message}`)
    }
  }
  process.exitCode = failed.length > 0 ? 1 : 0
}
