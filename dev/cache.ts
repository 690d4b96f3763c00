/** The user's cache folder: where Perdure keeps what was downloaded or built. Owns its place and its locks. */
import { mkdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'

export type Environment = Readonly<Record<string, string | undefined>>

/** `PERDURE_CACHE_DIR`, else `perdure` in `XDG_CACHE_HOME`, else in `~/.cache`. */
export function cacheFolder(env: Environment): string {
  if (env.PERDURE_CACHE_DIR) return resolve(env.PERDURE_CACHE_DIR)
  if (env.XDG_CACHE_HOME) return resolve(env.XDG_CACHE_HOME, 'perdure')
  return join(env.HOME || homedir(), '.cache', 'perdure')
}

/**
 * Runs `work` while no other process runs work under the same lock. The lock is an open SQLite transaction: the
 * operating system frees it when its holder dies, however it dies.
 */
export async function withLock<T>(file: string, onWait: () => void, work: () => Promise<T>): Promise<T> {
  mkdirSync(resolve(file, '..'), { recursive: true })
  const database = new DatabaseSync(file, { timeout: 0 })
  try {
    for (let told = false; !tryLock(database); told = true) {
      if (!told) onWait()
      await sleep(250)
    }
    return await work()
  } finally {
    database.close()
  }
}

function tryLock(database: DatabaseSync): boolean {
  try {
    database.exec('BEGIN EXCLUSIVE')
    return true
  } catch (error) {
    if (error instanceof Error && /locked|busy/i.test(error.message)) return false
    throw error
  }
}
