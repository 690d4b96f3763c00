/** Proof of life on one machine: an exclusive lock on a small database file per process, free at once after kill -9. */
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { ServiceError } from '../contracts/errors.ts'
import type { ProofOfLife } from './composed-store.ts'
import { isPassing } from './sqlite-engine.ts'

/**
 * The file is touched through SQLite only: POSIX drops all locks of a process as soon as it closes any handle of
 * the file, and SQLite is the one that keeps count (sqlite.org/howtocorrupt.html, 2.2).
 */
export function makeLockedFiles(dataDir: string): ProofOfLife {
  const folder = join(dataDir, 'processes')
  mkdirSync(folder, { recursive: true })
  const held = new Map<string, DatabaseSync>()

  function fileOf(processId: string): string {
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/.test(processId)) {
      throw new ServiceError('invalid_input', 'A process id is up to 100 letters, digits, dots and dashes')
    }
    return join(folder, `${processId}.db`)
  }

  return {
    async begin(processId) {
      if (held.has(processId)) return
      const lock = new DatabaseSync(fileOf(processId), { timeout: 0 })
      try {
        lock.exec('BEGIN EXCLUSIVE')
      } catch (error) {
        lock.close()
        throw new ServiceError('conflict', 'Another live process has this id', { cause: error })
      }
      held.set(processId, lock)
    },

    async registered() {
      // The lock is held already.
    },

    lookFailed() {
      // The next look at the lock is as good as this one would have been.
    },

    async isGone(processId) {
      const file = fileOf(processId)
      if (held.has(processId)) return false
      if (!existsSync(file)) return true
      const lock = new DatabaseSync(file, { timeout: 0 })
      try {
        lock.exec('BEGIN EXCLUSIVE')
        return true
      } catch (error) {
        if (isPassing(error)) return false
        throw error
      } finally {
        lock.close()
      }
    },

    async end(processId) {
      held.get(processId)?.close()
      held.delete(processId)
    },

    async forget(processId) {
      rmSync(fileOf(processId), { force: true })
    },

    async close() {
      for (const lock of held.values()) lock.close()
      held.clear()
    },
  }
}
