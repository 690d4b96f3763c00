/** Installs Debian packages where that is allowed: as root, on a system that has apt. Starts none of their services. */
import { findExecutable, run } from './run.mjs'

const updateLimitMs = 3 * 60_000
const installLimitMs = 10 * 60_000

const quiet = ['-y', '-q', '--no-install-recommends']
const options = ['DPkg::Lock::Timeout=300', 'Dpkg::Options::=--force-confold', 'Dpkg::Use-Pty=0']

let updated
let turn = Promise.resolve()

/** One after the other: the system's package database has one lock. */
export function aptInstall(...packages) {
  const mine = turn.then(() => install(packages))
  turn = mine.catch(() => {})
  return mine
}

async function install(packages) {
  if (process.getuid?.() !== 0)
    throw new Error(`${packages[0]} is not installed, and only root can install it`)
  if (!findExecutable('apt-get')) throw new Error(`${packages[0]} is not installed, and there is no apt-get`)
  updated ??= run('apt', 'apt-get', ['update', '-q'], { limitMs: updateLimitMs })
  // Old lists may do.
  await updated.catch(() => {})
  const args = [...options.flatMap((option) => ['-o', option]), 'install', ...quiet, ...packages]
  // In single-user mode no service is started by the installation: dockerd and PostgreSQL are started by who uses them.
  const env = { DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' }
  await run('apt', 'apt-get', args, { limitMs: installLimitMs, env })
}
