/**
 * Makes a small base image with Node and a shell from this machine's own files: no registry is asked. Test images are
 * built FROM it.
 *
 *   node scripts/docker-image.mjs     prints its name
 */
import { execFile, execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { aptInstall } from './apt.mjs'
import { sameOrder } from './image-archive.mjs'
import { findExecutable } from './run.mjs'

export const baseImage = 'localhost/perdure-base:test'
const label = 'perdure.base'
const commands = [
  'sh',
  'cat',
  'cp',
  'echo',
  'env',
  'grep',
  'head',
  'id',
  'kill',
  'ls',
  'mkdir',
  'ps',
  'rm',
  'sed',
  'sleep',
  'stat',
  'tail',
  'test',
  'touch',
  'true',
  'wget',
]

/** Made once per version of Node; 3 to 5 seconds. @returns {Promise<string>} its name */
export async function ensureBaseImage() {
  const programs = await basePrograms()
  const key = createHash('sha256')
    .update(`4 ${process.version} ${programs.node} ${programs.busybox}`)
    .digest('hex')
    .slice(0, 16)
  if ((await labelOf(baseImage)) === key) return baseImage
  const root = mkdtempSync(join(tmpdir(), 'perdure-image-'))
  try {
    layOut(root, programs)
    await importImage(root, key)
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
  return baseImage
}

/** The files of the base image, for engines other than Docker; its settings are `baseSettings`. */
export async function layOutBase(root) {
  layOut(root, await basePrograms())
}

export const baseSettings = {
  Env: ['PATH=/usr/local/bin:/usr/bin:/bin'],
  WorkingDir: '/app',
  Entrypoint: ['node'],
}

async function basePrograms() {
  if (!findExecutable('busybox')) await aptInstall('busybox-static')
  const busybox = findExecutable('busybox')
  if (!busybox) throw new Error('the package busybox-static brought no busybox')
  return { node: realpathSync(process.execPath), busybox }
}

function layOut(root, { node, busybox }) {
  for (const folder of [
    'app',
    'bin',
    'dev',
    'etc',
    'proc',
    'root',
    'sys',
    'tmp',
    'usr/bin',
    'usr/local/bin',
    'var/tmp',
  ]) {
    mkdirSync(join(root, folder), { recursive: true })
  }
  for (const folder of ['tmp', 'var/tmp']) chmodSync(join(root, folder), 0o1777)
  layOutProgram(root, node, '/usr/local/bin/node')
  layOutProgram(root, busybox, '/bin/busybox')
  for (const command of commands) symlinkSync('busybox', join(root, 'bin', command))
  // Where the first line of a script looks for it.
  symlinkSync('/bin/env', join(root, 'usr/bin/env'))
  const folder = [node, busybox]
    .flatMap(librariesOf)
    .map((path) => dirname(path))
    .find((path) => existsSync(path) && readdirSync(path).includes('libnss_files.so.2'))
  // No list shows them: names are looked up through the first three, Temporal’s native part needs the last.
  for (const name of ['libnss_files.so.2', 'libnss_dns.so.2', 'libresolv.so.2', 'librt.so.1']) {
    const path = join(folder ?? '/', name)
    if (existsSync(path)) copy(root, path, path)
  }
  writeFileSync(
    join(root, 'etc/passwd'),
    'root:x:0:0:root:/root:/bin/sh\nmodel:x:1000:1000:model:/app:/bin/sh\n',
  )
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\nmodel:x:1000:\n')
  writeFileSync(join(root, 'etc/nsswitch.conf'), 'passwd: files\ngroup: files\nhosts: files dns\n')
  const certificates = '/etc/ssl/certs/ca-certificates.crt'
  if (existsSync(certificates)) copy(root, certificates, certificates)
}

/** A program or a library of this machine, with the libraries that it needs. */
export function layOutProgram(root, program, target = program) {
  copy(root, program, target)
  for (const path of librariesOf(program)) copy(root, path, path)
}

function librariesOf(program) {
  let output
  try {
    output = execFileSync('ldd', [program], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  } catch {
    // Linked statically.
    return []
  }
  return [...output.matchAll(/(?:=> )?(\/[^ ]+) \(0x/g)].map((match) => match[1])
}

/** Follows links, keeps the permissions. */
function copy(root, from, to) {
  mkdirSync(join(root, dirname(to)), { recursive: true })
  copyFileSync(from, join(root, to))
}

async function importImage(root, key) {
  const tar = spawn('tar', ['-C', root, ...sameOrder, '-c', '.'], { stdio: ['ignore', 'pipe', 'inherit'] })
  const changes = [
    ...baseSettings.Env.map((setting) => `ENV ${setting}`),
    `WORKDIR ${baseSettings.WorkingDir}`,
    `ENTRYPOINT ${JSON.stringify(baseSettings.Entrypoint)}`,
    `LABEL ${label}=${key}`,
  ]
  const args = ['import', ...changes.flatMap((change) => ['--change', change]), '-', baseImage]
  const docker = spawn('docker', args, { stdio: [tar.stdout, 'ignore', 'inherit'] })
  for (const child of [tar, docker]) {
    const code = await new Promise((done, failed) => {
      if (child.exitCode !== null) return done(child.exitCode)
      child.on('error', failed)
      child.on('exit', done)
    })
    if (code !== 0) throw new Error(`${basename(child.spawnfile)} ended with exit code ${code}`)
  }
}

async function labelOf(image) {
  const format = `{{index .Config.Labels "${label}"}}`
  try {
    const { stdout } = await promisify(execFile)('docker', ['image', 'inspect', '--format', format, image], {
      timeout: 30_000,
    })
    return stdout.trim()
  } catch {
    return undefined
  }
}

if (import.meta.main) console.log(await ensureBaseImage())
