/**
 * Provides Docker Compose, the one that is there or one built from its Go module, and Temporal's web interface, built
 * from its module too: with them docker-compose.yml runs as a whole without a registry. Kept in the user's cache by
 * version; one to three minutes the first time.
 *
 *   node scripts/compose.mjs     prints both, as JSON
 */
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { cacheFolder, withLock } from '../dev/cache.ts'
import { findExecutable, isExecutable, run } from './run.mjs'

/** The version of the web interface is the one of docker-compose.yml: test/deploy.compose.test.ts holds it to that. */
export const versions = { compose: 'v2.40.3', ui: 'v2.54.1' }
const buildLimitMs = 15 * 60_000
const downloadLimitMs = 5 * 60_000

/** The command that is Compose 2 or newer, such as `['docker', 'compose']`, or undefined. */
export function composeCommand() {
  if (isExecutable(pathOf('compose'))) return [pathOf('compose')]
  try {
    execFileSync('docker', ['compose', 'version'], { stdio: 'ignore', timeout: 10_000 })
    return ['docker', 'compose']
  } catch {
    return undefined
  }
}

/** Folder with Temporal's web interface as its image has it, the program `ui-server` and its `config`; or undefined. */
export function temporalUi() {
  return isExecutable(join(pathOf('ui'), 'ui-server')) ? pathOf('ui') : undefined
}

export async function provide(limitMs = buildLimitMs) {
  const what = () => `${composeCommand()?.join(' ')}, Temporal's web interface ${versions.ui}`
  if (composeCommand() && temporalUi()) return what()
  if (!findExecutable('go')) throw new Error('Go is not installed: Compose is built from its Go module')
  const onWait = () => console.error('Another process is building Compose; waiting for it …')
  await withLock(join(folder(), 'lock'), onWait, async () => {
    const until = performance.now() + limitMs
    if (!composeCommand()) await build('compose', until, buildCompose)
    if (!temporalUi()) await build('ui', until, buildUi)
  })
  return what()
}

function buildCompose(target, limitMs) {
  const module = downloaded(`github.com/docker/compose/v2@${versions.compose}`)
  const version = `-X github.com/docker/compose/v2/internal.Version=${versions.compose}`
  return goBuild(module, './cmd', target, version, limitMs)
}

async function buildUi(target, limitMs) {
  const module = downloaded(`github.com/temporalio/ui-server/v2@${versions.ui}`)
  mkdirSync(join(target, 'config'), { recursive: true })
  copyFileSync(join(module, 'config/docker.yaml'), join(target, 'config/docker.yaml'))
  await goBuild(module, './cmd/server', join(target, 'ui-server'), '', limitMs)
}

/** In the folder of the module itself: `go install` refuses one whose go.mod excludes versions. */
function goBuild(module, program, target, version, limitMs) {
  const args = ['-trimpath', '-buildvcs=false', `-ldflags=-s -w ${version}`, '-o', target, program]
  const env = { CGO_ENABLED: '0' }
  return run('compose', 'nice', ['go', 'build', '-C', module, ...args], { env, limitMs })
}

function downloaded(module) {
  const args = ['mod', 'download', '-json', module]
  return JSON.parse(execFileSync('go', args, { encoding: 'utf8', timeout: downloadLimitMs, cwd: folder() }))
    .Dir
}

/** What is built appears whole or not at all. */
async function build(what, until, work) {
  const temporary = mkdtempSync(join(folder(), '.build-'))
  try {
    const target = join(temporary, what)
    await work(target, until - performance.now())
    renameSync(target, pathOf(what))
  } finally {
    rmSync(temporary, { recursive: true, force: true })
  }
}

function pathOf(what) {
  return join(folder(), `${what}-${versions[what]}`)
}

function folder() {
  const path = join(cacheFolder(process.env), 'compose')
  mkdirSync(path, { recursive: true })
  return path
}

if (import.meta.main) {
  await provide()
  console.log(JSON.stringify({ compose: composeCommand(), temporalUi: temporalUi() }))
}
