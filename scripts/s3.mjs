/**
 * Builds a real S3-compatible server for the tests from its Go module: versitygw over a folder. Kept in the user's
 * cache by version; one to three minutes the first time.
 *
 *   node scripts/s3.mjs     prints its path
 */
import { mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { cacheFolder, withLock } from '../dev/cache.ts'
import { findExecutable, isExecutable, run } from './run.mjs'

const version = 'v1.8.0'
const buildLimitMs = 15 * 60_000

/** Path of the server, or undefined where it has not been built. */
export function s3Server() {
  const path = pathOf()
  return isExecutable(path) ? path : undefined
}

export async function provide(limitMs = buildLimitMs) {
  if (s3Server()) return `versitygw ${version} from the cache`
  if (!findExecutable('go')) throw new Error('Go is not installed: the server is built from a Go module')
  const onWait = () => console.error('Another process is building the S3 server; waiting for it …')
  await withLock(`${pathOf()}.lock`, onWait, async () => {
    if (!s3Server()) await build(limitMs)
  })
  return `versitygw ${version}, built`
}

async function build(limitMs) {
  const folder = join(pathOf(), '..')
  mkdirSync(folder, { recursive: true })
  const temporary = mkdtempSync(join(folder, '.build-'))
  try {
    const env = { CGO_ENABLED: '0', GOBIN: temporary, GOFLAGS: '-trimpath' }
    const args = ['go', 'install', `github.com/versity/versitygw/cmd/versitygw@${version}`]
    await run('s3', 'nice', args, { env, limitMs })
    renameSync(join(temporary, 'versitygw'), pathOf())
  } finally {
    rmSync(temporary, { recursive: true, force: true })
  }
}

function pathOf() {
  return join(cacheFolder(process.env), 's3', `versitygw-${version}`)
}

if (import.meta.main) {
  await provide()
  console.log(s3Server())
}
