/**
 * Provides Helm, built from its Go module, and the definition of KEDA's ScaledObject out of KEDA's module: the chart's
 * test renders and validates with them. Kept in the user's cache by version; one to three minutes the first time.
 *
 *   node scripts/helm.mjs     prints both paths, as JSON
 */
import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { cacheFolder, withLock } from '../dev/cache.ts'
import { findExecutable, isExecutable, run } from './run.mjs'

const versions = { helm: 'v3.19.0', keda: 'v2.17.2' }
const buildLimitMs = 15 * 60_000
const downloadLimitMs = 3 * 60_000

/** Path of helm, or undefined where it has not been built. */
export function helmProgram() {
  const path = pathOf('helm')
  return isExecutable(path) ? path : undefined
}

/** Path of KEDA's CustomResourceDefinition (YAML), or undefined where it is not there. */
export function scaledObjectDefinition() {
  const path = pathOf('keda')
  return existsSync(path) ? path : undefined
}

export async function provide(limitMs = buildLimitMs) {
  const what = `helm ${versions.helm}, KEDA's definition ${versions.keda}`
  if (helmProgram() && scaledObjectDefinition()) return `${what} from the cache`
  if (!findExecutable('go')) throw new Error('Go is not installed: helm is built from its Go module')
  const onWait = () => console.error('Another process is building helm; waiting for it …')
  await withLock(join(folder(), 'lock'), onWait, async () => {
    if (!scaledObjectDefinition()) copyDefinition()
    if (!helmProgram()) await build(limitMs)
  })
  return `${what}, built`
}

async function build(limitMs) {
  const temporary = mkdtempSync(join(folder(), '.build-'))
  try {
    const env = { CGO_ENABLED: '0', GOBIN: temporary, GOFLAGS: '-trimpath' }
    const args = ['go', 'install', '-ldflags=-s -w', `helm.sh/helm/v3/cmd/helm@${versions.helm}`]
    await run('helm', 'nice', args, { env, limitMs })
    renameSync(join(temporary, 'helm'), pathOf('helm'))
  } finally {
    rmSync(temporary, { recursive: true, force: true })
  }
}

function copyDefinition() {
  const args = ['mod', 'download', '-json', `github.com/kedacore/keda/v2@${versions.keda}`]
  const module = JSON.parse(
    execFileSync('go', args, { encoding: 'utf8', timeout: downloadLimitMs, cwd: folder() }),
  )
  copyFileSync(join(module.Dir, 'config/crd/bases/keda.sh_scaledobjects.yaml'), pathOf('keda'))
}

function pathOf(what) {
  return join(folder(), what === 'helm' ? `helm-${versions.helm}` : `scaledobject-${versions.keda}.yaml`)
}

function folder() {
  const path = join(cacheFolder(process.env), 'helm')
  mkdirSync(path, { recursive: true })
  return path
}

if (import.meta.main) {
  await provide()
  console.log(JSON.stringify({ helm: helmProgram(), scaledObject: scaledObjectDefinition() }))
}
