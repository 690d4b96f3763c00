/**
 * Builds Temporal's production server and its SQL tool from their Go module, the version that docker-compose.yml runs.
 * Kept in the user's cache by version; about five minutes of two cores the first time.
 *
 *   node scripts/temporal-server.mjs     prints the path of each program, as JSON
 */
import { mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { cacheFolder, withLock } from '../dev/cache.ts'
import { findExecutable, isExecutable, run } from './run.mjs'

/** test/deploy.temporal.test.ts holds it to the images of docker-compose.yml. */
export const version = 'v1.32.0'
const buildLimitMs = 20 * 60_000

/** Each program with what `go install` calls it. */
const programs = { 'temporal-server': 'server', 'temporal-sql-tool': 'sql' }

/** Path of each program, or undefined while one is missing. */
export function temporalServerPrograms() {
  const paths = Object.fromEntries(Object.keys(programs).map((name) => [name, pathOf(name)]))
  return Object.values(paths).every(isExecutable) ? paths : undefined
}

/** What is built before the time limit stays in Go's own cache: the next one goes on from there. */
export async function provide(limitMs = buildLimitMs) {
  if (temporalServerPrograms()) return `Temporal server ${version} from the cache`
  if (!findExecutable('go')) throw new Error('Go is not installed: the server is built from a Go module')
  const onWait = () => console.error('Another process is building the Temporal server; waiting for it …')
  await withLock(join(folder(), `${version}.lock`), onWait, async () => {
    if (!temporalServerPrograms()) await build(limitMs)
  })
  return `Temporal server ${version}, built`
}

async function build(limitMs) {
  mkdirSync(folder(), { recursive: true })
  const temporary = mkdtempSync(join(folder(), '.build-'))
  try {
    const env = { CGO_ENABLED: '0', GOBIN: temporary, GOFLAGS: '-trimpath' }
    const modules = ['cmd/server', 'cmd/tools/sql'].map((path) => `go.temporal.io/server/${path}@${version}`)
    await run('temporal-server', 'nice', ['go', 'install', '-ldflags=-s -w', ...modules], { env, limitMs })
    for (const [name, built] of Object.entries(programs)) renameSync(join(temporary, built), pathOf(name))
  } finally {
    rmSync(temporary, { recursive: true, force: true })
  }
}

function pathOf(name) {
  return join(folder(), `${name}-${version}`)
}

function folder() {
  return join(cacheFolder(process.env), 'temporal-server')
}

if (import.meta.main) {
  await provide()
  console.log(JSON.stringify(temporalServerPrograms()))
}
