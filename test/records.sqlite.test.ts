/** What only the SQLite store can show: one transaction per turn, isolation within it, and clear words at start. */
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { expect, onTestFinished, test } from 'vitest'
import { oneByOne, type WriteKind } from '../records/group.ts'
import { openSqliteStore } from '../records/sqlite.ts'
import { makeSqliteEngine } from '../records/sqlite-engine.ts'
import type { Statement } from '../records/statement.ts'
import { openAt } from './support/store-places.ts'
import {
  admitted,
  limits,
  servingStore,
  sqliteStores,
  storeAt,
  storeProcess,
  taken,
} from './support/stores.ts'

function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'perdure-sqlite-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

/** An engine over a table of words, and the statements it ran. */
function wordEngine(): {
  db: DatabaseSync
  add: WriteKind<string, string>
  engine: ReturnType<typeof makeSqliteEngine>
} {
  const db = new DatabaseSync(join(folder(), 'words.db'))
  db.exec('PRAGMA journal_mode = WAL; create table words (word text primary key, turn integer)')
  const insert: Statement = { sql: 'insert into words values (?, ?)', name: 'insert' }
  const add = oneByOne(
    (word: string) => [word],
    function* (word, now) {
      yield [{ statement: insert, values: [word, now] }]
      if (word === 'bad') throw new Error('bad word')
      return word.toUpperCase()
    },
  )
  const engine = makeSqliteEngine(db, { deadlineMs: 5_000 })
  onTestFinished(() => engine.close())
  return { db, add, engine }
}

test('a data folder that it makes is for its user alone', async () => {
  const dataDir = join(folder(), 'data')
  const store = await openSqliteStore({ dataDir })
  await store.close()
  expect(statSync(dataDir).mode & 0o777).toBe(0o700)
})

test('what is asked in one turn is one transaction', async () => {
  const { db, add, engine } = wordEngine()
  const other = new DatabaseSync(db.location()!)
  onTestFinished(() => other.close())
  const version = () => Number(other.prepare('PRAGMA data_version').get()?.data_version)
  const before = version()
  const words = Array.from({ length: 100 }, (_, n) => `w${n}`)
  const results = await Promise.all(words.map((word) => engine.write(add, word)))
  expect(results).toEqual(words.map((word) => word.toUpperCase()))
  expect(version() - before).toBe(1)
})

test('one that fails undoes itself and nobody else', async () => {
  const { db, add, engine } = wordEngine()
  await engine.write(add, 'there')
  const settled = await Promise.allSettled(
    ['a', 'bad', 'b', 'there', 'c'].map((word) => engine.write(add, word)),
  )
  expect(settled.map(({ status }) => status)).toEqual([
    'fulfilled',
    'rejected',
    'fulfilled',
    'rejected',
    'fulfilled',
  ])
  const words = db.prepare('select word from words order by word').all()
  expect(words.map(({ word }) => word)).toEqual(['a', 'b', 'c', 'there'])
})

test('a data folder that cannot be made or written is one clear line', async () => {
  const file = join(folder(), 'file')
  writeFileSync(file, '')
  const opening = openSqliteStore({ dataDir: join(file, 'data'), writeDeadlineMs: 100 })
  await expect(opening).rejects.toThrow(/^The record store in .*data cannot be opened: .*ENOTDIR[^\n]*$/)
})

test('a file that is no database, and one of a newer version, are refused untouched', async () => {
  const strange = folder()
  writeFileSync(
    join(strange, 'records.db'),
    'not a database, but long enough to be taken for one '.repeat(20),
  )
  await expect(openSqliteStore({ dataDir: strange })).rejects.toThrow(
    /cannot be opened: file is not a database$/,
  )

  const newer = folder()
  const db = new DatabaseSync(join(newer, 'records.db'))
  db.exec('PRAGMA user_version = 999')
  db.close()
  await expect(openSqliteStore({ dataDir: newer })).rejects.toThrow(/written by a newer Perdure; /)
})

test('a file that stays locked is one clear line at the deadline', async () => {
  const dataDir = folder()
  const db = new DatabaseSync(join(dataDir, 'records.db'))
  db.exec('BEGIN EXCLUSIVE')
  onTestFinished(() => db.close())
  await expect(openSqliteStore({ dataDir, writeDeadlineMs: 200 })).rejects.toThrow(/database is locked$/)
})

test('ten processes opening a new folder at once all get the same schema', async () => {
  const place = await sqliteStores.place()
  const children = await Promise.all(Array.from({ length: 10 }, () => storeProcess(place)))
  await Promise.all(children.map((child, n) => child.store.pause(`queue-${n}`)))
  const store = await storeAt(place)
  expect(await store.pause('queue-3')).toBe(false)
})

test('what was written is there after every store was closed', async () => {
  const place = await sqliteStores.place()
  const first = await openAt(place)
  await first.registerProcess('api-1', 'api')
  await first.openProcess('api-1')
  const [id] = await admitted(first)
  await first.pause('critical')
  await first.close()
  await expect(first.get(id!)).rejects.toMatchObject({ code: 'store_unavailable' })
  const second = await storeAt(place)
  expect(await second.get(id!)).toMatchObject({ status: 'pending' })
  expect(await second.observeProcess('api-1')).toBe('dead')
  expect(await second.pause('critical')).toBe(false)
})

test('a thousand takes and transitions asked together are quick', async () => {
  const store = await servingStore(await sqliteStores.place())
  const ids = await admitted(store, 1000)
  const started = performance.now()
  const tokens = await Promise.all(ids.map((id) => taken(store, id, 'api-1', limits)))
  await Promise.all(ids.map((id, n) => store.transition(id, 'succeeded', { outputs: '1' }, tokens[n])))
  const tookMs = performance.now() - started
  // Measured 40–75 ms; the bound only catches a change of kind, such as one commit per write.
  expect(tookMs).toBeLessThan(5_000)
  console.log(`1000 take + transition pairs: ${tookMs.toFixed(0)} ms`)
})
