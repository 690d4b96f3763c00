/** Runs operations on one SQLite connection: writes grouped by turn, retried while the file is locked, bounded in time. */
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { setTimeout as delay } from 'node:timers/promises'
import { type Batch, batchesOf, type Engine, type Entry, storeUnavailable } from './group.ts'
import type { Ask, Operation, Statement } from './statement.ts'

/** Bounds how long one transaction holds the event loop and the file. */
const largestGroup = 500
const firstPauseMs = 2
const longestPauseMs = 50

export function makeSqliteEngine(db: DatabaseSync, options: { deadlineMs: number }): Engine {
  const prepared = new Map<Statement, StatementSync>()
  const waiting: Entry[] = []
  let scheduled = false
  let pauseMs = firstPauseMs
  let closed = false

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
    while (!step.done) step = operation.next(ask(step.value))
    return step.value
  }

  function flush(): void {
    scheduled = false
    const now = performance.now()
    for (const entry of takeOut(waiting, (entry) => entry.deadline <= now)) entry.reject(storeUnavailable())
    const group = waiting.slice(0, largestGroup)
    if (group.length === 0) return
    let settle: (() => void)[]
    try {
      settle = commit(group)
      pauseMs = firstPauseMs
    } catch (error) {
      if (db.isTransaction) db.exec('ROLLBACK')
      if (isPassing(error)) {
        flushLater()
        return
      }
      settle = group.map((entry) => () => entry.reject(error))
    }
    waiting.splice(0, group.length)
    for (const tell of settle) tell()
    if (waiting.length > 0) flushSoon()
  }

  function commit(group: readonly Entry[]): (() => void)[] {
    db.exec('BEGIN IMMEDIATE')
    let settle: (() => void)[]
    try {
      settle = batchesOf(group).flatMap((batch) => runBatch(batch))
    } catch (error) {
      if (isPassing(error)) throw error
      // One of them failed: the others must not suffer, so everything runs again, each by itself.
      db.exec('ROLLBACK')
      db.exec('BEGIN IMMEDIATE')
      settle = group.flatMap((entry) => runAlone(entry))
    }
    db.exec('COMMIT')
    return settle
  }

  function runBatch({ kind, entries }: Batch): (() => void)[] {
    const requests = entries.map((entry) => entry.request)
    const results = drive(kind.run(requests, Date.now()))
    return entries.map((entry, index) => () => entry.resolve(results[index]))
  }

  function runAlone(entry: Entry): (() => void)[] {
    db.exec('SAVEPOINT alone')
    try {
      const settle = runBatch({ kind: entry.kind, entries: [entry] })
      db.exec('RELEASE alone')
      return settle
    } catch (error) {
      if (isPassing(error)) throw error
      db.exec('ROLLBACK TO alone')
      db.exec('RELEASE alone')
      return [() => entry.reject(error)]
    }
  }

  function flushSoon(): void {
    // After the callbacks of this turn: whatever they ask becomes one transaction.
    if (!scheduled) setImmediate(flush)
    scheduled = true
  }

  function flushLater(): void {
    scheduled = true
    setTimeout(flush, pauseMs * (0.5 + Math.random()))
    pauseMs = Math.min(longestPauseMs, pauseMs * 2)
  }

  return {
    write(kind, request) {
      if (closed) return Promise.reject(storeUnavailable())
      return new Promise((resolve, reject) => {
        const deadline = performance.now() + options.deadlineMs
        waiting.push({ kind, request, deadline, resolve: resolve as Entry['resolve'], reject })
        flushSoon()
      })
    },

    async read(operation) {
      const deadline = performance.now() + options.deadlineMs
      for (let pause = firstPauseMs; ; pause = Math.min(longestPauseMs, pause * 2)) {
        if (closed) throw storeUnavailable()
        try {
          return drive(operation())
        } catch (error) {
          if (!isPassing(error)) throw error
          if (performance.now() + pause > deadline) throw storeUnavailable(error)
        }
        await delay(pause)
      }
    },

    async close() {
      while (waiting.length > 0) await delay(firstPauseMs)
      closed = true
      db.close()
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

function takeOut<T>(from: T[], matches: (item: T) => boolean): T[] {
  const taken: T[] = []
  const kept: T[] = []
  for (const item of from) (matches(item) ? taken : kept).push(item)
  if (taken.length > 0) from.splice(0, from.length, ...kept)
  return taken
}
