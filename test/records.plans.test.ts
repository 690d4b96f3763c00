/** With many records stored, PostgreSQL finds what hot statements ask for by index: their cost stays that of the few. */
import pg from 'pg'
import { expect, onTestFinished, test, vi } from 'vitest'
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
      analyze`)

    const asked = new Map<string, Asked>()
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
    await store.discard([ids[3]!])
    await store.terminalAmong(ids)
    await store.get(ids[1]!)
    await store.inputsOf(ids[1]!)
    await store.count('critical')
    await store.waitingFlights('critical', 10)
    await store.meanRunMs('model3')
    await store.list({ limit: 20 })
    await store.list({ limit: 20, modelName: 'model3' })
    await store.list({ limit: 20, modelName: 'model3', status: 'succeeded' })
    await store.deletePending('critical')
    await store.outboxNext(ids)
    await store.outboxDone(1)
    await store.updateTask('p9', { queueId: 'q' })
    await store.addFile('new', '')
    await store.oldFiles(new Date(5), 10)
    await store.take(ids[0]!, 'api-1', limits)
    await store.leaveProcess('api-1')
    await store.settle('api-1', 'interrupted')
    await store.expire(new Date(3))
    spy.mockRestore()

    const large =
      /Seq Scan on (predictions|prediction_inputs|prediction_outputs|flights|idempotency_keys|files|outbox)/
    expect(asked.size).toBeGreaterThan(40)
    for (const { text, values } of asked.values()) {
      if (!/^(select|update|delete|insert)/.test(text)) continue
      const { rows } = await db.query(`explain ${text}`, values)
      const plan = rows.map((row) => row['QUERY PLAN']).join('\n')
      if (process.env.PERDURE_SHOW_PLANS) console.log(`${text}\n${plan}\n`)
      expect.soft(plan, text).not.toMatch(large)
    }
  })
})
