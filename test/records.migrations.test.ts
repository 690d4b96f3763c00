/** Versions side by side on one database: the last release goes on and starts anew, the one before it is refused. */
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { expect, onTestFinished, test } from 'vitest'
import { reached, type Schema, schema } from '../records/migrations/migrations.ts'
import type { Migration } from '../records/sql/migrations/migration.ts'
import type { Store } from '../records/store.ts'
import { blessingFor } from './support/blessings.ts'
import { describeWithCluster, sharedCluster } from './support/postgres.ts'
import { openAt, type Place } from './support/store-places.ts'
import {
  admissionOf,
  admitted,
  describeStores,
  flightIds,
  newPrediction,
  probeAt,
  servingStore,
  storeAt,
  taken,
} from './support/stores.ts'

const words = { identity: 'integer' }
const count = schema.migrations.length

/** A later version, with one more migration and a release for each. */
function later(releases: number): Schema {
  const added = Array.from({ length: releases }, (_, n): Migration => {
    return ({ identity }) => [
      `alter table predictions add column later_${n} text not null default ''`,
      `create table later_${n} (seq ${identity}, body text not null)`,
      `create index predictions_later_${n} on predictions (later_${n})`,
    ]
  })
  return { migrations: [...schema.migrations, ...added], lastRelease: count + releases - 1 }
}

const tables = schema.migrations
  .flatMap((migration) => migration(words))
  .flatMap((statement) => /^create table (\w+)/.exec(statement)?.[1] ?? [])

/** A later version, with one more column everywhere. */
const widened: Schema = {
  migrations: [
    ...schema.migrations,
    () => tables.map((table) => `alter table ${table} add column later text not null default ''`),
  ],
  lastRelease: count,
}

/** Reads all that a store shows of predictions, webhooks, validations and blessings. */
async function usesEverything(store: Store): Promise<void> {
  const [id] = flightIds(1)
  const webhook = { url: 'https://hooks.test', events: ['completed'], base: '' } as const
  const items = [newPrediction(id!, { webhook })]
  await store.admit(admissionOf([id!], { processId: 'old-1', items }))
  await store.cancel(id!)
  expect((await store.outboxNext([id!])).map(({ kind }) => kind)).toEqual(['mirror', 'webhook'])
  const [delivery] = await store.deliveries.list(id!)
  await store.deliveries.keepBody(delivery!.id, '{}')
  expect(await store.deliveries.get(delivery!.id)).toMatchObject({ body: '{}' })
  const { validations } = store
  const validation = randomUUID()
  await validations.create({ id: validation, modelName: 'iris', spec: '{}' })
  const blessing = blessingFor()
  await validations.end(validation, { verdict: 'BLESSED', blessing })
  expect(await validations.list({ limit: 1 })).toEqual([await validations.get(validation)])
  expect(await validations.blessings({ limit: 1 })).toEqual([await validations.blessing(blessing.id)])
  const { digest } = blessing.model
  expect(await validations.blessingsOf({ digest, names: [], limit: 1 })).toHaveLength(1)
}

/** Those of the stores; SQLite has none to lose. */
async function connectionsOf(place: Place): Promise<unknown[]> {
  if (place.kind === 'sqlite') return []
  return probeAt(place).query(
    `select pid from pg_stat_activity where application_name = 'perdure' and datname = current_database()`,
  )
}

/** A whole prediction, and what else a process does at its start. */
async function works(store: Store, processId: string): Promise<void> {
  const [id] = await admitted(store, 1, { processId })
  const token = await taken(store, id!, processId)
  await store.transition(id!, 'succeeded', { outputs: '1' }, token)
  expect(await store.get(id!)).toMatchObject({ status: 'succeeded', outputs: '1' })
}

describeStores('an upgrade', ({ place }) => {
  test('leaves the processes of the last release running, and lets them start again', async () => {
    const at = await place()
    const before = await servingStore(at, 'old-1')
    const [id] = await admitted(before, 1, { processId: 'old-1' })
    const after = await servingStore(at, 'new-1', { schema: later(1) })
    await works(before, 'old-1')
    await works(after, 'new-1')
    const again = await servingStore(at, 'old-2')
    await works(again, 'old-2')
    const token = await taken(after, id!, 'new-1')
    await again.transition(id!, 'failed', { errorInfo: 'x', errorCode: 'interrupted' }, token)
    expect(await before.get(id!)).toMatchObject({ status: 'failed' })
  })

  // PR-21
  test('that adds a column to every table leaves a process of the last release what it had prepared', async () => {
    const at = await place()
    const before = await servingStore(at, 'old-1', { mirror: true, poolSize: 1 })
    await usesEverything(before)
    const connections = await connectionsOf(at)
    await (await openAt(at, { schema: widened })).close()
    await usesEverything(before)
    // One on which a statement fails is given up.
    expect(await connectionsOf(at)).toEqual(connections)
  })

  test('two releases further is refused with one line, and the database is as it was', async () => {
    const at = await place()
    const after = await servingStore(at, 'new-1', { schema: later(2) })
    await expect(storeAt(at)).rejects.toThrow(
      new RegExp(
        `^The record store.*: its schema ${count + 2} was written by a newer Perdure; it can be used from schema ${count + 1} on, this version knows ${count}$`,
      ),
    )
    await works(after, 'new-1')
    await storeAt(at, { schema: later(1) })
  })

  test('over two releases at once brings an old database all the way', async () => {
    const at = await place()
    await storeAt(at, { schema: { migrations: schema.migrations.slice(0, 4), lastRelease: 3 } })
    await works(await servingStore(at, 'new-1', { schema: later(2) }), 'new-1')
  })
})

test('every migration since the last release only adds, so that its processes run on', () => {
  expect(reached(schema)).toEqual({ version: count, oldest: schema.lastRelease })
  expect(schema.lastRelease).toBeLessThanOrEqual(count)
  const adds =
    /^(create table \w+ \(|create (unique )?index \w+ on|alter table \w+ add column \w+ \w+( precision)?( not null default .+)?$)/
  for (const statement of schema.migrations.slice(schema.lastRelease).flatMap((change) => change(words)))
    expect.soft(statement.trim()).toMatch(adds)
})

test('the last release of CHANGELOG.md names the schema that stands for it', () => {
  const changelog = readFileSync(new URL('../CHANGELOG.md', import.meta.url), 'utf8')
  const [release] = changelog.split('\n').filter((line) => /^## \d/.test(line))
  if (release !== undefined) expect(release).toContain(`schema ${schema.lastRelease}`)
})

describeWithCluster('on PostgreSQL', () => {
  test('whoever starts while another migrates waits for as long as that takes', async () => {
    const connectionString = await sharedCluster().newDatabase()
    const db = new pg.Client({ connectionString })
    await db.connect()
    onTestFinished(() => db.end())
    await db.query(`BEGIN; select pg_advisory_xact_lock(hashtextextended('perdure schema', 0))`)
    const writeDeadlineMs = 300
    const opening = storeAt({ kind: 'postgres', connectionString }, { writeDeadlineMs })
    let settled = false
    void opening.then(
      () => (settled = true),
      () => (settled = true),
    )
    await delay(5 * writeDeadlineMs)
    expect(settled).toBe(false)
    await db.query('COMMIT')
    expect(await (await opening).count('critical')).toEqual({ waiting: 0, running: 0 })
  })

  test('a migration may take longer than any other statement', async () => {
    const connectionString = await sharedCluster().newDatabase()
    const slow: Migration = () => ['create table slow as select pg_sleep(1)::text as slept']
    const migrations = [...schema.migrations, slow]
    const options = { schema: { migrations, lastRelease: count }, writeDeadlineMs: 300 }
    const store = await storeAt({ kind: 'postgres', connectionString }, options)
    expect(await store.count('critical')).toEqual({ waiting: 0, running: 0 })
  })

  test('a database that is up to date is opened by a role that may change nothing of its schema', async () => {
    const connectionString = await sharedCluster().newDatabase()
    await storeAt({ kind: 'postgres', connectionString })
    const db = new pg.Client({ connectionString })
    await db.connect()
    onTestFinished(() => db.end())
    await db.query(`do $$ begin create role plain login; exception when duplicate_object then null; end $$;
      revoke create on schema public from public;
      grant select, insert, update, delete on all tables in schema public to plain`)
    const url = new URL(connectionString)
    url.username = 'plain'
    await works(await servingStore({ kind: 'postgres', connectionString: url.href }), 'api-1')
  })
})
