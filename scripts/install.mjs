/** Installs the locked npm packages when node_modules does not hold them. Runs on Node 20 without any dependency. */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join, resolve, sep } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

export const projectRoot = resolve(dirname(fileURLToPath(import.meta.url)), '..')

/** Where the locked dependency `node` puts its executable. */
export function projectNode() {
  return join(projectRoot, 'node_modules', 'node', 'bin', 'node')
}

/**
 * Whether node_modules holds what package-lock.json locks. npm writes its own list of what it installed as the last
 * step of an installation, so an interrupted one leaves none. Optional packages of other platforms may be absent.
 */
export function installed(root = projectRoot) {
  const locked = packagesIn(join(root, 'package-lock.json'))
  const present = packagesIn(join(root, 'node_modules', '.package-lock.json'))
  if (!locked || !present) return false
  return Object.entries(locked).every(([path, entry]) => {
    if (path === '' || entry.link) return true
    const there = present[path]
    return there ? there.version === entry.version : entry.optional === true || entry.devOptional === true
  })
}

/** Runs `npm ci`, one process at a time per working copy; whoever waited finds the work done. */
export async function installPackages(say) {
  const release = await installLock(say)
  try {
    if (installed()) return
    say('Installing packages (npm ci), once …')
    const { code, errors } = await npmCi()
    if (code !== 0) throw new Error(`npm ci failed with exit code ${code}:\n${errors}`)
    if (!installed()) throw new Error('npm ci ended without installing what package-lock.json lists')
  } finally {
    release()
  }
}

function packagesIn(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).packages
  } catch {
    return undefined
  }
}

/** The Node that runs npm must not be the one that npm ci is about to delete. */
function npmCi() {
  const inside = join(projectRoot, 'node_modules') + sep
  const path = (process.env.PATH ?? '')
    .split(delimiter)
    .filter((folder) => !`${folder}${sep}`.startsWith(inside))
  const env = { ...process.env, PATH: path.join(delimiter), npm_config_loglevel: 'error' }
  return new Promise((done, failed) => {
    const args = ['ci', '--include=dev', '--no-audit', '--no-fund']
    const child = spawn('npm', args, { cwd: projectRoot, env, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    const keep = (chunk) => {
      output += chunk
    }
    child.stdout.on('data', keep)
    child.stderr.on('data', keep)
    child.on('error', (error) => failed(new Error(`npm does not start: ${error.message}`)))
    child.on('close', (code) => done({ code: code ?? 1, errors: firstLines(output) }))
  })
}

/** What npm says first is the reason, the rest its manual. Addresses are left out: one may hold a password. */
function firstLines(output) {
  const lines = output.split('\n').filter((line) => /^npm error\s+\S/.test(line))
  return lines
    .slice(0, 12)
    .join('\n')
    .replaceAll(/https?:\/\/\S+/g, '…')
    .replaceAll(/(ENOTFOUND|EAI_AGAIN) \S+/g, '$1 …')
}

/** A folder is the lock: making one is atomic everywhere. The lock of a process that is gone is taken over. */
async function installLock(say) {
  const key = createHash('sha256').update(projectRoot).digest('hex').slice(0, 16)
  const folder = join(tmpdir(), `perdure-install-${process.getuid?.() ?? 0}-${key}`)
  const holder = join(folder, 'pid')
  let told = false
  for (;;) {
    try {
      mkdirSync(folder)
      writeFileSync(holder, String(process.pid))
      return () => rmSync(folder, { recursive: true, force: true })
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
    }
    if (abandoned(folder, holder)) {
      rmSync(folder, { recursive: true, force: true })
      continue
    }
    if (!told) say('Another process is installing the packages; waiting for it …')
    told = true
    await new Promise((wake) => setTimeout(wake, 500))
  }
}

function abandoned(folder, holder) {
  try {
    const pid = Number(readFileSync(holder, 'utf8'))
    if (pid > 0) return !alive(pid)
  } catch {
    // Made a moment ago and not yet signed, or its maker died in between.
  }
  try {
    return Date.now() - statSync(folder).mtimeMs > 10_000
  } catch {
    return false
  }
}

function alive(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href && !installed()) {
  await installPackages((line) => console.error(line))
}
