/** Runs operations on one SQLite connection. Every statement is synchronous; waiting for the lock is not. */
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import type { Engine, Entry } from './group.ts'
import { isLasting, storeUnavailable } from './group.ts'
import type { Ask, Operation, Statement } from './statement.ts'
import { type Tell, type TransactionRules, transaction } from './transaction.ts'
import { makeWriteQueue, retryRead } from './write-queue.ts'

const transactionRules: TransactionRules = {
  begin: { sql: 'BEGIN IMMEDIATE', name: 'begin' },
  isPassing,
}

export function makeSqliteEngine(db: DatabaseSync, { deadlineMs }: { deadlineMs: number }): Engine {
  const prepared = new Map<Statement, StatementSync>()

  function ask({ statement, values }: Ask): unknown[] {
    let ready = prepared.get(statement)
    if (ready === undefined) {
      ready = db.prepare(statement.sql)
      prepared.set(statement, ready)
    }
    return ready.all(...values)
  }

  function drive<Result>(operation: Operation<Result>): Result {
    let step = operation.next()
    while (!step.done) {
      let rows: unknown[][]
      try {
        rows = step.value.map(ask)
      } catch (error) {
        step = operation.throw(error)
        continue
      }
      step = operation.next(rows)
    }
    return step.value
  }

  let synchronous = ''

  /** FULL waits for the disk at every commit, NORMAL (in WAL mode) leaves that to the next one that does. */
  function setSynchronous(wanted: 'FULL' | 'NORMAL'): void {
    if (wanted === synchronous) return
    db.exec(`PRAGMA synchronous = ${wanted}`)
    synchronous = wanted
  }

  function commit(group: readonly Entry[]): Tell[] {
    try {
      setSynchronous(isLasting(group) ? 'FULL' : 'NORMAL')
      return drive(transaction(group, transactionRules))
    } catch (error) {
      if (db.isTransaction) db.exec('ROLLBACK')
      throw error
    }
  }

  const queue = makeWriteQueue({ deadlineMs, largestGroup: 500, parallel: 1, commit, isPassing })

  return {
    write: queue.write,
    read: (operation) =>
      retryRead({ deadlineMs, isPassing }, () => {
        if (!db.isOpen) throw storeUnavailable()
        return drive(operation())
      }),
    async close() {
      await queue.close()
      if (db.isOpen) db.close()
    },
  }
}

const busy = 5
const locked = 6
const readOnly = 8
const ioError = 10
const full = 13
const cannotOpen = 14
const lockProtocol = 15
const passing: ReadonlySet<number> = new Set([
  busy,
  locked,
  readOnly,
  ioError,
  full,
  cannotOpen,
  lockProtocol,
])

/** The file is locked, or the disk is full or failing: worth another try. Result codes: sqlite.org/rescode.html */
export function isPassing(error: unknown): boolean {
  if (!(error instanceof Error) || !('errcode' in error) || typeof error.errcode !== 'number') return false
  return passing.has(error.errcode & 0xff)
}
