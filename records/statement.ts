/** Statements built once by the query builder and run many times, in either dialect. Owns no SQL and no connection. */
import {
  type Compilable,
  DummyDriver,
  Kysely,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  type RawBuilder,
  type SqlBool,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
  sql,
} from 'kysely'
import type { Tables } from './tables.ts'

/** A value that is known when the statement runs. */
class Slot {
  readonly name: string
  constructor(name: string) {
    this.name = name
  }
}

export type Value = string | number | null

/** A compiled statement. Its identity is the key under which a connection keeps the prepared form. */
export interface Statement {
  readonly sql: string
  /** Short and unique: PostgreSQL names prepared statements. */
  readonly name: string
}

/** What an operation asks of the connection that runs it. */
export interface Ask {
  statement: Statement
  values: Value[]
}

/**
 * A piece of a transaction: yields statements that need not wait for one another, gets the rows of each, returns its
 * result. Runs on any connection.
 */
export type Operation<T> = Generator<readonly Ask[], T, unknown[][]>

/** A prepared question: `yield* question(params)` gives its rows. */
export type Question<P, R> = (params: P) => Operation<R[]>

type Params = Record<string, Value>

export interface Dialect {
  readonly name: 'sqlite' | 'postgres'
  readonly identity: string
  /** Compiles once. The callback sees every parameter as if it had its value. */
  prepare<P extends Params, R>(build: (db: Kysely<Tables>, params: P) => Compilable<R>): Question<P, R>
  /** Whether the column's text is one of a JSON array of strings. */
  among(column: string, idsAsJson: string): RawBuilder<SqlBool>
  /** Nobody else changes these rows until the end of the transaction. SQLite has one writer anyway. */
  locking<Q extends { forUpdate(): Q }>(query: Q): Q
  /** As `locking`, but others may hold the same rows likewise. */
  sharing<Q extends { forShare(): Q }>(query: Q): Q
  /** One admission at a time per queue, so that the count of waiting records is exact. */
  admitAlone(queue: string): Operation<void>
  /** The store's clock, for what only reads; a write is given it. Of SQLite's processes all have one machine's. */
  clock(): Operation<number>
}

// Constants are written into the statement: a planner can only use a partial index (`where status in …`) when it sees
// the value. Only slots become parameters.
class LiteralSqliteCompiler extends SqliteQueryCompiler {
  protected override appendValue(value: unknown): void {
    if (value instanceof Slot) super.appendValue(value)
    else this.appendImmediateValue(value)
  }
}

class LiteralPostgresCompiler extends PostgresQueryCompiler {
  protected override appendValue(value: unknown): void {
    if (value instanceof Slot) super.appendValue(value)
    else this.appendImmediateValue(value)
  }
}

export const sqliteDialect: Dialect = {
  name: 'sqlite',
  identity: 'integer primary key autoincrement',
  prepare: preparer(
    new Kysely<Tables>({
      dialect: {
        createAdapter: () => new SqliteAdapter(),
        createDriver: () => new DummyDriver(),
        createIntrospector: (db) => new SqliteIntrospector(db),
        createQueryCompiler: () => new LiteralSqliteCompiler(),
      },
    }),
  ),
  among: (column, ids) => sql`${sql.ref(column)} in (select value from json_each(${ids}))`,
  locking: (query) => query,
  sharing: (query) => query,
  // BEGIN IMMEDIATE admits one writer.
  *admitAlone() {},
  // biome-ignore lint/correctness/useYield: there is nothing to ask
  *clock() {
    return Date.now()
  },
}

export const postgresClock: Statement = {
  sql: 'select floor(extract(epoch from clock_timestamp()) * 1000)::bigint as now',
  name: 'clock',
}

const postgres = new Kysely<Tables>({
  dialect: {
    createAdapter: () => new PostgresAdapter(),
    createDriver: () => new DummyDriver(),
    createIntrospector: (db) => new PostgresIntrospector(db),
    createQueryCompiler: () => new LiteralPostgresCompiler(),
  },
})
const preparePostgres = preparer(postgres)
const lockQueue = preparePostgres((db, p: { queue: string }) =>
  db.selectNoFrom(sql<number>`1`.as('locked')).where(
    // The transaction ends the lock. Text 'admit' keeps it apart from other users of advisory locks.
    sql<boolean>`pg_advisory_xact_lock(hashtextextended('perdure admit ' || ${p.queue}::text, 0)) is not null`,
  ),
)

export const postgresDialect: Dialect = {
  name: 'postgres',
  identity: 'bigint generated always as identity primary key',
  prepare: preparePostgres,
  // An array made once: the planner uses the column's index, as it would not for a join with a function.
  among: (column, ids) =>
    sql`${sql.ref(column)} = any(array(select jsonb_array_elements_text(${ids}::jsonb)))`,
  locking: (query) => query.forUpdate(),
  sharing: (query) => query.forShare(),
  *admitAlone(queue) {
    yield* lockQueue({ queue })
  },
  *clock() {
    const [rows] = yield [{ statement: postgresClock, values: [] }]
    return (rows as { now: number }[])[0]!.now
  },
}

function preparer(db: Kysely<Tables>): Dialect['prepare'] {
  let prepared = 0
  return function prepare<P extends Params, R>(build: (db: Kysely<Tables>, params: P) => Compilable<R>) {
    // While the statement is built every parameter is a Slot that only pretends to be a value.
    const slots = new Proxy({}, { get: (_, name) => new Slot(String(name)) }) as P
    const compiled = build(db, slots).compile()
    const statement = { sql: compiled.sql, name: `p${++prepared}` }
    const names = compiled.parameters.map(slotName)
    return function* ask(params: P): Operation<R[]> {
      const [rows] = yield [{ statement, values: names.map((name) => given(params, name)) }]
      return rows as R[]
    }
  }
}

function given(params: Params, name: string): Value {
  const value = params[name]
  if (value === undefined) throw new Error(`Statement lacks its parameter ${name}`)
  return value
}

function slotName(part: unknown): string {
  if (part instanceof Slot) return part.name
  throw new Error('A statement has a parameter without a name')
}

/** Two operations side by side, as `together`. */
export function* both<A, B>(one: Operation<A>, other: Operation<B>): Operation<[A, B]> {
  let a = one.next()
  let b = other.next()
  while (!a.done || !b.done) {
    const asksA = a.done ? [] : a.value
    const asksB = b.done ? [] : b.value
    const answers = yield [...asksA, ...asksB]
    if (!a.done) a = one.next(answers.slice(0, asksA.length))
    if (!b.done) b = other.next(answers.slice(asksA.length))
  }
  return [a.value, b.value]
}

/** Operations side by side: their statements go out together, one round trip for all. */
export function* together<T>(operations: readonly Operation<T>[]): Operation<T[]> {
  const steps = operations.map((operation) => operation.next())
  for (;;) {
    const asking = steps.flatMap((step, n) => (step.done ? [] : [{ n, asks: step.value }]))
    if (asking.length === 0) return steps.flatMap((step) => (step.done ? [step.value] : []))
    const answers = yield asking.flatMap(({ asks }) => asks)
    let at = 0
    for (const { n, asks } of asking) {
      steps[n] = operations[n]!.next(answers.slice(at, at + asks.length))
      at += asks.length
    }
  }
}
