/** A role of a test's own PostgreSQL server that must show its password; all others need none. */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import pg from 'pg'
import type { Cluster } from './postgres.ts'

/** The connection string of the new role, for the given database. */
export async function roleWithPassword(cluster: Cluster, database: string, password: string): Promise<URL> {
  const db = new pg.Client({ connectionString: database })
  await db.connect()
  try {
    await db.query(`create role locked superuser login password '${password}'`)
    const { rows } = await db.query<{ hba_file: string }>('show hba_file')
    const file = rows[0]!.hba_file
    const rest = readFileSync(file, 'utf8')
    // The first line that fits decides. Written in place: the file belongs to the server's user.
    writeFileSync(file, 'host all locked 127.0.0.1/32 scram-sha-256\n')
    appendFileSync(file, rest)
    await db.query('select pg_reload_conf()')
  } finally {
    await db.end()
  }
  const url = new URL(database)
  url.username = 'locked'
  url.password = password
  url.port = String(cluster.port)
  return url
}
