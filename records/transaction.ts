/** One group as one transaction, in which a failing member undoes only itself. Runs on any connection. */
import { type Batch, batchesOf, type Entry } from './group.ts'
import type { Operation, Statement } from './statement.ts'

export interface TransactionRules {
  begin: Statement
  /** Follows `begin` in the same round trip. */
  soften?: Statement
  /** A row with `now`, the store's clock in milliseconds; without it the clock is this machine's. */
  clock?: Statement
  /** The connection or the database is at fault, not the member: the whole group is to be tried again. */
  isPassing(error: unknown): boolean
}

/** Tells one member its outcome; to be called once the transaction is committed. */
export type Tell = () => void

const commit: Statement = { sql: 'COMMIT', name: 'commit' }
const rollback: Statement = { sql: 'ROLLBACK', name: 'rollback' }
const savepoint: Statement = { sql: 'SAVEPOINT alone', name: 'savepoint' }
const rollbackTo: Statement = { sql: 'ROLLBACK TO SAVEPOINT alone', name: 'rollback_to' }
const release: Statement = { sql: 'RELEASE SAVEPOINT alone', name: 'release' }

/** Leaves the transaction open when it throws: its owner rolls back. */
export function* transaction(entries: readonly Entry[], rules: TransactionRules): Operation<Tell[]> {
  let tells: Tell[]
  try {
    tells = yield* runTogether(entries, yield* begin(rules))
  } catch (error) {
    if (rules.isPassing(error)) throw error
    // One of them failed: the others must not suffer, so everything runs again, each by itself.
    yield* run(rollback)
    tells = yield* runApart(entries, yield* begin(rules), rules)
  }
  yield* run(commit)
  return tells
}

function* begin({ begin, soften, clock }: TransactionRules): Operation<number> {
  if (clock === undefined) {
    yield* run(begin)
    return Date.now()
  }
  const statements = soften === undefined ? [begin, clock] : [begin, soften, clock]
  const answers = yield statements.map((statement) => ({ statement, values: [] }))
  return (answers.at(-1) as { now: number }[])[0]!.now
}

function* runTogether(entries: readonly Entry[], now: number): Operation<Tell[]> {
  const tells: Tell[] = []
  for (const batch of batchesOf(entries)) tells.push(...(yield* runBatch(batch, now)))
  return tells
}

function* runBatch({ kind, entries }: Batch, now: number): Operation<Tell[]> {
  const results = yield* kind.run(
    entries.map((entry) => entry.request),
    now,
  )
  return entries.map((entry, n) => () => entry.resolve(results[n]))
}

function* runApart(entries: readonly Entry[], now: number, rules: TransactionRules): Operation<Tell[]> {
  const tells: Tell[] = []
  for (const entry of entries) {
    yield* run(savepoint)
    try {
      tells.push(...(yield* runBatch({ kind: entry.kind, entries: [entry] }, now)))
    } catch (error) {
      if (rules.isPassing(error)) throw error
      yield* run(rollbackTo)
      tells.push(() => entry.reject(error))
    }
    yield* run(release)
  }
  return tells
}

function* run(statement: Statement): Operation<void> {
  yield [{ statement, values: [] }]
}
