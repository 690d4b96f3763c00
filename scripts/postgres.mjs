/**
 * Finds PostgreSQL's server programs, or installs them. Tests make clusters of their own with them; the system's
 * cluster is neither made nor used.
 *
 *   node scripts/postgres.mjs     prints the folder of initdb, pg_ctl and postgres
 */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { aptInstall } from './apt.mjs'
import { findExecutable, isExecutable } from './run.mjs'

const debianFolder = '/usr/lib/postgresql'
const debianSettings = '/etc/postgresql-common/createcluster.conf'

/** The newest one that is installed, or undefined. */
export function postgresFolder() {
  const versions = existsSync(debianFolder)
    ? readdirSync(debianFolder).sort((a, b) => Number(b) - Number(a))
    : []
  const folders = versions.map((version) => join(debianFolder, version, 'bin'))
  const onPath = findExecutable('initdb')
  if (onPath) folders.push(dirname(onPath))
  return folders.find((folder) =>
    ['initdb', 'pg_ctl', 'postgres'].every((name) => isExecutable(join(folder, name))),
  )
}

export async function provide() {
  const present = postgresFolder()
  if (present) return present
  if (process.getuid?.() === 0 && !existsSync(debianSettings)) {
    mkdirSync(dirname(debianSettings), { recursive: true })
    writeFileSync(debianSettings, 'create_main_cluster = false\n')
  }
  await aptInstall('postgresql')
  const folder = postgresFolder()
  if (!folder) throw new Error('the package postgresql brought no initdb')
  return folder
}

if (import.meta.main) console.log(await provide())
