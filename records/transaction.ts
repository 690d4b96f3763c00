/** One group as one transaction, in which a failing member undoes only itself. Runs on any connection. */
import { type Batch, batchesOf, type Entry } from './group.ts'
import { both, type Operation, type Statement, together } from './statement.ts'

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

/** What has run and waits for the commit: whom to tell, and what they are to read behind it. */
interface Ran {
  tells: Tell[]
  reads: Operation<void>[]
}

/** Leaves the transaction open when it throws: its owner rolls back. */
export function* transaction(entries: readonly Entry[], rules: TransactionRules): Operation<Tell[]> {
  let ran: Ran
  try {
    ran = yield* runTogether(entries, yield* begin(rules))
  } catch (error) {
    if (rules.isPassing(error)) throw error
    // One of them failed: the others must not suffer, so everything runs again, each by itself.
    yield* run(rollback)
    ran = yield* runApart(entries, yield* begin(rules), rules)
  }
  yield* both(run(commit), together(ran.reads))
  return ran.tells
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

function* runTogether(entries: readonly Entry[], now: number): Operation<Ran> {
  const ran: Ran = { tells: [], reads: [] }
  for (const batch of batchesOf(entries)) yield* runBatch(batch, now, ran)
  return ran
}

function* runBatch({ kind, entries }: Batch, now: number, ran: Ran): Operation<void> {
  const requests = entries.map((entry) => entry.request)
  const results = yield* kind.run(requests, now)
  if (kind.readBehind !== undefined) ran.reads.push(kind.readBehind(requests, results))
  ran.tells.push(...entries.map((entry, n) => () => entry.resolve(results[n])))
}

function* runApart(entries: readonly Entry[], now: number, rules: TransactionRules): Operation<Ran> {
  const ran: Ran = { tells: [], reads: [] }
  for (const entry of entries) {
    yield* run(savepoint)
    try {
      yield* runBatch({ kind: entry.kind, entries: [entry] }, now, ran)
    } catch (error) {
      if (rules.isPassing(error)) throw error
      yield* run(rollbackTo)
      ran.tells.push(() => entry.reject(error))
    }
    yield* run(release)
  }
  return ran
}

function* run(statement: Statement): Operation<void> {
  yield [{ statement, values: [] }]
}
