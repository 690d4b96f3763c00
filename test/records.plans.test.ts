/** With many records stored, PostgreSQL finds what hot statements ask for by index: their cost stays that of the few. */
import pg from 'pg'
import { expect, onTestFinished, test, vi } from 'vitest'
import { ownedKinds } from '../contracts/ownership.ts'
import { describeWithCluster } from './support/postgres.ts'
import {
  admissionOf,
  admitted,
  flightIds,
  limits,
  newPrediction,
  postgresStores,
  servingStore,
  taken,
} from './support/stores.ts'

const stored = 50_000

interface Asked {
  text: string
  values: unknown[]
}

function isNamed(config: unknown): config is Asked & { name: string } {
  return typeof config === 'object' && config !== null && 'name' in config && 'values' in config
}

describeWithCluster('plans', () => {
  test('no hot statement reads a large table from end to end', async () => {
    const place = await postgresStores.place()
    if (place.kind !== 'postgres') throw new Error('wrong place')
    const store = await servingStore(place, 'api-1', { mirror: true })
    const db = new pg.Client({ connectionString: place.connectionString })
    await db.connect()
    onTestFinished(() => db.end())
    await db.query(`
      insert into flights select 'f' || n, 'old', 'v2', 'call', 2000, 1 from generate_series(1, ${stored}) n;
      insert into predictions (id, model_name, model_version, status, created_at, started_at, ended_at, queue,
        queue_num, queue_id, uid, platform, flight, run_ms)
      select 'p' || n, 'model' || n % 10, '', 'succeeded', n, n, n, 'critical', 0, '', '', 'v2', 'f' || n, n
        from generate_series(1, ${stored}) n;
      insert into prediction_inputs select 'p' || n, '{}' from generate_series(1, ${stored}) n;
      insert into prediction_outputs select 'p' || n, '{}' from generate_series(1, ${stored}) n;
      insert into idempotency_keys select 'k' || n, '', 'p' || n, ${Date.now()} from generate_series(1, ${stored}) n;
      insert into files select 'x' || n, 'p' || n, n from generate_series(1, ${stored}) n;
      insert into outbox (prediction_id, kind, body, created_at)
        select 'p' || n, 'mirror', '{}', n from generate_series(1, ${stored}) n;
      insert into jobs select 'p' || n, 1, '{}', 0 from generate_series(1, ${stored}) n;
      insert into deliveries (id, prediction_id, event, url, body, status, created_at)
        select 'd' || n, 'p' || n, 'completed', 'http://x', '{}', 'delivered', ${Date.now()} from generate_series(1, ${stored}) n;
      insert into tracking_records (project, model, version, failed, body, created_at)
        select 'default', 'model' || n % 10, '', 0, '{}', n from generate_series(1, ${stored}) n;
      insert into model_endpoints select 'default', 'e' || n, 'm', '{}', n from generate_series(1, ${stored}) n;
      insert into validations (id, model_name, status, spec, progress, created_at)
        select 'v' || n, 'model' || n % 10, 'ended', '{}', '{}', n from generate_series(1, ${stored}) n;
      insert into validation_attempts select 'v' || n, 0, 1, '{}' from generate_series(1, ${stored}) n;
      insert into validation_texts select 'v' || n, 'spec', '' from generate_series(1, ${stored}) n;
      insert into blessings (id, validation_id, verdict, model_name, model_digest, body, created_at, expires_at)
        select 'b' || n, 'v' || n, 'BLESSED', 'model' || n % 100, 'sha256:' || n, '{}', n, n
          from generate_series(1, ${stored}) n;
      analyze`)

    let asked = new Map<string, Asked>()
    const askedBy = async (ask: () => Promise<void>) => {
      asked = new Map()
      await ask()
      return [...asked.values()].filter(({ text }) => /^(select|update|delete|insert)/.test(text))
    }
    const query = pg.Client.prototype.query
    const spy = vi.spyOn(pg.Client.prototype, 'query').mockImplementation(function (
      this: pg.Client,
      ...args: unknown[]
    ) {
      const [config] = args
      if (isNamed(config)) asked.set(config.text, { text: config.text, values: config.values })
      return Reflect.apply(query, this, args)
    })
    onTestFinished(() => spy.mockRestore())

    const hot = await askedBy(async () => {
      const idempotency = { key: 'new', fingerprint: 'f' }
      const [first] = flightIds(1)
      await store.admit(
        admissionOf([first!], { items: [newPrediction(first!, { idempotency })], started: ['f7'] }),
      )
      const ids = await admitted(store, 5)
      const token = await taken(store, ids[0]!)
      await store.release(ids[0]!, token, 0, 'platform_busy')
      await taken(store, ids[1]!)
      await store.transition(ids[1]!, 'succeeded', { outputs: '1', runMs: 3 })
      await store.cancel(ids[2]!)
      await store.settleDoubt('critical', [ids[3]!])
      await store.abandonBegun('api-1', [flightIds(1)[0]!])
      await store.unstarted('api-1', '')
      await store.flightsHeldBy('api-1')
      await store.terminalAmong(ids)
      await store.notHeld(ids)
      await store.heldBy('api-1')
      await store.holdAgain(ids[4]!, 'api-1', 1)
      await store.letGo(ids[4]!, 'api-1', 1)
      await store.get(ids[1]!)
      await store.inputsOf(ids[1]!)
      await store.count('critical')
      await store.waitingFlights('critical', 0, 10)
      await store.meanRunMs('model3')
      await store.list({ limit: 20 })
      await store.list({ limit: 20, modelName: 'model3' })
      await store.list({ limit: 20, modelName: 'model3', status: 'succeeded' })
      await store.deletePending('critical')
      await store.outboxNext(ids)
      await store.outboxDone(1)
      await store.updateTask('p9', { queueId: 'q' })
      await store.addFile('new', '')
      await store.take(ids[0]!, 'api-1', limits)
      await store.begin({ ...newPrediction(flightIds(1)[0]!), queue: 'critical', platform: 'v2' }, 'api-1')
      const [job] = await admitted(store)
      await store.endOverdue([job!])
      await store.progress(job!, await taken(store, job!), { output: '1', logs: 'l' })
      await store.list({ limit: 20, status: 'running' })
      await store.markStarted(['f7'])
      await store.beginJob(job!, 1)
      await store.jobCreated(job!, '{}')
      await store.jobOf(job!)
      await store.jobRefused(job!)
      await store.cancelsDue(ids)
      await store.cancelHeard(job!)
      await store.forgetFiles(['x1'])
      const { deliveries, validations, tracking } = store
      await deliveries.get('d7')
      await deliveries.list('p7')
      await deliveries.keepBody('d7', '{}')
      await deliveries.tried('d7', { status: 'waiting', answer: 500, error: 'x', nextInMs: 1 })
      await deliveries.isNext('d7')
      await deliveries.reopen('d7')
      await deliveries.orderOf('p7')
      await validations.get('v7')
      await validations.list({ limit: 20 })
      await validations.list({ limit: 20, modelName: 'model3' })
      await validations.patchAttempt('v7', 0, 1, {})
      await validations.attempts('v7')
      await validations.text('v7', 'spec')
      await validations.blessingsOf({ digest: 'sha256:7', names: ['model7'], limit: 20 })
      await validations.blessings({ limit: 20, modelName: 'model7' })
      await tracking.append([{ project: 'default', model: 'm', version: '', failed: false, body: '{}' }])
      await tracking.list({ limit: 20 })
      await tracking.list({ limit: 20, model: 'model3' })
      await tracking.endpoint('default', 'e7')
      await store.leaveProcess('api-1')
      await store.settle('api-1', 'interrupted')
    })
    expect(hot.length).toBeGreaterThan(60)
    // A connection that has asked five times may go on with a plan for any values: both must do.
    await expectIndexes(db, hot, ['force_custom_plan', 'force_generic_plan'], everyTable)

    // Once an hour, with values that are planned for.
    const hourly = await askedBy(async () => {
      await store.oldFiles(Date.now() - 5, 10)
      await store.expire(Date.now() - 3)
    })
    await expectIndexes(db, hourly, ['force_custom_plan'], everyTable)

    // What asks for everything that is due reads the outbox: it holds nothing else.
    await db.query('delete from outbox')
    await db.query('vacuum analyze outbox')
    const due = await askedBy(async () => {
      await store.figures('critical', 60_000)
      for (const kind of ownedKinds) await store.leftOpen({ kind, queue: 'critical', minAgeMs: 0 })
      await store.flightStarts(['f7'])
      await store.outboxOwedBy('api-1', 10)
    })
    await expectIndexes(db, due, ['force_custom_plan'], everyTable.replace('|outbox', ''))
  }, 120_000)

  test('plans of connections that began with an empty database read no table from end to end once it has grown', async () => {
    const place = await postgresStores.place()
    if (place.kind !== 'postgres') throw new Error('wrong place')
    const store = await servingStore(place)
    const work = async () => {
      const [id] = await admitted(store, 1, { maxQueueSize: 1_000_000 })
      await taken(store, id!)
      await store.transition(id!, 'succeeded', { outputs: '1' })
      await store.terminalAmong([id!])
    }
    // A connection settles on a plan after five runs (postgresql.org/docs/current/sql-prepare.html).
    for (let run = 0; run < 60; run++) await work()
    const db = new pg.Client({ connectionString: place.connectionString })
    await db.connect()
    onTestFinished(() => db.end())
    await db.query(`
      insert into predictions (id, model_name, model_version, status, created_at, queue, queue_num, queue_id, uid, platform)
        select 'p' || n, 'm', '', 'succeeded', n, 'critical', 0, '', '', 'v2' from generate_series(1, ${stored}) n;
      insert into prediction_inputs select 'p' || n, '{}' from generate_series(1, ${stored}) n;
      insert into prediction_outputs select 'p' || n, '{}' from generate_series(1, ${stored}) n`)

    for (let run = 0; run < 20; run++) await work()

    // A session tells its counts when it ends.
    await store.close()
    const { rows } = await db.query<{ relname: string; read: number }>(
      `select relname, seq_tup_read::float8 as read from pg_stat_user_tables where relname like 'prediction%'`,
    )
    for (const { relname, read } of rows) expect(read, relname).toBeLessThan(stored)
  })
})

/** Tables of which every stored prediction or validation has a row. */
const everyTable =
  'predictions|prediction_inputs|prediction_outputs|flights|idempotency_keys|files|outbox|jobs|deliveries|' +
  'tracking_records|model_endpoints|validations|validation_attempts|validation_texts|blessings'

async function expectIndexes(
  db: pg.Client,
  asked: readonly Asked[],
  modes: string[],
  tables: string,
): Promise<void> {
  for (const { text, values } of asked) {
    for (const mode of modes) {
      const plan = await planOf(db, mode, text, values)
      if (process.env.PERDURE_SHOW_PLANS) console.log(`${text}\n${mode}\n${plan}\n`)
      expect.soft(plan, `${mode}: ${text}`).not.toMatch(new RegExp(`Seq Scan on (${tables})\\b`))
    }
  }
}

async function planOf(db: pg.Client, mode: string, text: string, values: unknown[]): Promise<string> {
  await db.query(`set plan_cache_mode = ${mode}`)
  await db.query(`prepare asked as ${text}`)
  const given = values.map((value) => (value === null ? 'null' : pg.escapeLiteral(String(value))))
  const { rows } = await db.query(`explain execute asked${given.length === 0 ? '' : `(${given.join()})`}`)
  await db.query('deallocate asked')
  return rows.map((row) => row['QUERY PLAN']).join('\n')
}
