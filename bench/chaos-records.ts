/** What the chaos run reads beside the stack: the records' database, and every change of a status as it happened. */
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'

export interface ChaosRecords {
  /** From now on every change of a status is noted. */
  noteStatuses(): Promise<void>
  open(): Promise<string[]>
  /** Those of `ids` that are not terminal. */
  openAmong(ids: readonly string[]): Promise<string[]>
  query<Row>(sql: string, values?: unknown[]): Promise<Row[]>
  close(): Promise<void>
}

export const terminal = `('succeeded', 'failed', 'canceled')`

/** Every call waits while the database is away, for at most a minute. */
export function chaosRecords(connectionString: string): ChaosRecords {
  const pool = new pg.Pool({ connectionString, max: 2, connectionTimeoutMillis: 5_000 })
  pool.on('error', () => undefined)

  async function query<Row>(sql: string, values: unknown[] = []): Promise<Row[]> {
    const endMs = performance.now() + 60_000
    for (;;) {
      try {
        return (await pool.query(sql, values)).rows as Row[]
      } catch (error) {
        if (performance.now() > endMs) throw error
      }
      await delay(50)
    }
  }

  return {
    query,
    async noteStatuses() {
      await query(`create table if not exists bench_status_log (id text, was text, became text)`)
      await query(`create or replace function bench_note() returns trigger language plpgsql as
        $$ begin insert into bench_status_log values (new.id, old.status, new.status); return new; end $$`)
      await query(`create or replace trigger bench_note after update of status on predictions
        for each row when (old.status is distinct from new.status) execute function bench_note()`)
    },
    async open() {
      const rows = await query<{ id: string }>(`select id from predictions where status not in ${terminal}`)
      return rows.map(({ id }) => id)
    },
    async openAmong(ids) {
      const rows = await query<{ id: string }>(
        `select id from predictions where id = any($1) and status not in ${terminal}`,
        [ids],
      )
      return rows.map(({ id }) => id)
    },
    close: () => pool.end(),
  }
}
