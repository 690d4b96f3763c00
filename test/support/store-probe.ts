/** Looks into a deployment's store beside its owners, and disturbs it: SQLite's file, or a PostgreSQL database. */
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import pg from 'pg'
import type { Cluster } from './postgres.ts'

export interface StoreProbe {
  /** `?` stands for a parameter on either. */
  query<Row>(sql: string, ...params: (string | number)[]): Promise<Row[]>
  /** From now on every change of a status is a row `(id, was, became)` of `status_log`. */
  noteStatuses(): Promise<void>
  declareDead(processId: string): Promise<void>
  /** As good as a store that is away, from now on. Returns what brings it back. */
  takeAway(): Promise<() => Promise<void>>
  close(): Promise<void>
}

export function probeSqlite(dataDir: string): StoreProbe {
  const file = join(dataDir, 'records.db')
  async function withFile<Result>(use: (database: DatabaseSync) => Result): Promise<Result> {
    const database = new DatabaseSync(file, { timeout: 5_000 })
    try {
      return use(database)
    } finally {
      database.close()
    }
  }
  return {
    query: (sql, ...params) => withFile((database) => database.prepare(sql).all(...params) as never),
    noteStatuses: () =>
      withFile((database) =>
        database.exec(`create table if not exists status_log (id text, was text, became text);
          create trigger if not exists note_status after update of status on predictions when old.status <> new.status
          begin insert into status_log values (new.id, old.status, new.status); end`),
      ),
    declareDead: (processId) =>
      withFile((database) => database.exec(`update processes set state = 'dead' where id = '${processId}'`)),
    // Another writer holds the lock.
    async takeAway() {
      const database = new DatabaseSync(file, { timeout: 10_000 })
      database.exec('begin exclusive')
      return async () => {
        database.exec('rollback')
        database.close()
      }
    },
    async close() {},
  }
}

const int8 = 20

/** `cluster` is the test's own if it calls `takeAway`: the whole server is killed. */
export function probePostgres(connectionString: string, cluster: Cluster): StoreProbe {
  const getTypeParser = (oid: number, format?: 'text' | 'binary') =>
    oid === int8 && format !== 'binary' ? Number : pg.types.getTypeParser(oid, format)
  const pool = new pg.Pool({ connectionString, max: 2, types: { getTypeParser } })
  pool.on('error', () => {
    // The server was killed; the next query connects anew.
  })
  const query = async <Row>(sql: string, ...params: (string | number)[]): Promise<Row[]> => {
    let n = 0
    const { rows } = await pool.query(
      sql.replaceAll('?', () => `$${++n}`),
      params,
    )
    return rows as Row[]
  }
  return {
    query,
    async noteStatuses() {
      await query(`create table if not exists status_log (id text, was text, became text)`)
      await query(`create or replace function note_status() returns trigger language plpgsql as $$
        begin insert into status_log values (new.id, old.status, new.status); return null; end $$`)
      await query(`create or replace trigger note_status after update of status on predictions
        for each row when (old.status <> new.status) execute function note_status()`)
    },
    async declareDead(processId) {
      await query(`update processes set state = 'dead' where id = ?`, processId)
    },
    async takeAway() {
      await cluster.kill()
      return () => cluster.start()
    },
    close: () => pool.end(),
  }
}
