/** What a store names as needing a workflow, for the ownership check and `perdure recover`. */
import { expect, onTestFinished, test } from 'vitest'
import { prefixOf } from '../contracts/names.ts'
import type { OwnedKind } from '../contracts/ownership.ts'
import type { LeftOpenPage, Store } from '../records/store.ts'
import { sharedCluster } from './support/postgres.ts'
import type { Place } from './support/store-places.ts'
import { probePostgres, probeSqlite, type StoreProbe } from './support/store-probe.ts'
import {
  admissionOf,
  admitted,
  describeStores,
  flightIds,
  newPrediction,
  servingStore,
  storeAt,
  taken,
} from './support/stores.ts'

function probe(place: Place): StoreProbe {
  const opened =
    place.kind === 'sqlite'
      ? probeSqlite(place.dataDir)
      : probePostgres(place.connectionString, sharedCluster())
  onTestFinished(() => opened.close())
  return opened
}

const now = { queue: 'critical', minAgeMs: 0 }

async function idsOf(store: Store, kind: OwnedKind, page: Partial<LeftOpenPage> = {}): Promise<string[]> {
  return (await store.leftOpen({ ...now, ...page, kind })).map(({ id }) => id)
}

const everyKind: OwnedKind[] = ['flight', 'guard', 'delivery', 'validation']

describeStores('what is left open', ({ place }) => {
  test('names flights with open members and what they are started with, and nothing that has ended', async () => {
    const store = await servingStore(await place(), 'api-1')
    expect(await idsOf(store, 'flight')).toEqual([])
    const [done] = await admitted(store)
    await store.transition(done!, 'succeeded', { outputs: '1' }, await taken(store, done!))
    const open = flightIds(2)
    const prefix = prefixOf(open[0]!)
    const dated = newPrediction(open[1]!, { modelName: 'other', cancelAfterMs: 60_000 })
    const flight = { prefix, platform: 'v2', lane: 'call', heartbeatTimeoutMs: 2_000 } as const
    await store.admit(
      admissionOf(open, {
        flight: { ...flight, priority: 2, fairnessKey: 'team', streamed: true },
        items: [newPrediction(open[0]!), dated],
      }),
    )
    await store.transition(open[0]!, 'succeeded', { outputs: '1' }, await taken(store, open[0]!))
    const unstarted = { id: prefix, ageMs: expect.any(Number), unstartedBy: 'api-1' }
    expect(await store.leftOpen({ ...now, kind: 'flight' })).toEqual([unstarted])
    await store.markStarted([prefix])
    expect(await store.leftOpen({ ...now, kind: 'flight' })).toEqual([
      { ...unstarted, unstartedBy: undefined },
    ])
    expect(await store.flightStarts([prefix, prefixOf(done!)])).toEqual([
      {
        ...flight,
        ids: [open[1]],
        models: ['other'],
        priority: 2,
        fairnessKey: 'team',
        streamer: 'api-1',
        deadlineInMs: expect.any(Number),
      },
    ])
  })

  test('names flights that owe a message or a cancel', async () => {
    const store = await servingStore(await place(), 'api-1', { mirror: true })
    const [told] = await admitted(store)
    await store.transition(told!, 'succeeded', { outputs: '1' }, await taken(store, told!))
    const [job] = await admitted(store)
    await store.beginJob(job!, await taken(store, job!))
    await store.cancel(job!)
    for (let [row] = await store.outboxNext([job!]); row; [row] = await store.outboxNext([job!]))
      await store.outboxDone(row.seq)
    const prefixes = [prefixOf(told!), prefixOf(job!)].sort()
    expect(await idsOf(store, 'flight')).toEqual(prefixes)
    expect((await store.flightStarts(prefixes)).flatMap(({ ids }) => ids).sort()).toEqual(
      [told!, job!].sort(),
    )
  })

  test('names API processes not known to be dead, and dead ones that hold a direct call or owe a message', async () => {
    const at = await place()
    const gone = await servingStore(at, 'api-1', { mirror: true })
    const [direct, owed] = flightIds(2)
    const more = { queue: 'critical', platform: 'v2' } as const
    await gone.begin({ ...newPrediction(direct!), ...more }, 'api-1')
    await gone.leaveProcess('api-1')
    const owing = await servingStore(at, 'api-2', { mirror: true })
    await owing.begin({ ...newPrediction(owed!), ...more }, 'api-2')
    await owing.transition(owed!, 'succeeded', { outputs: '1' }, 1)
    await owing.leaveProcess('api-2')
    const idle = await servingStore(at, 'api-3')
    await idle.leaveProcess('api-3')
    await servingStore(at, 'api-4')
    const early = await storeAt(at)
    await early.registerProcess('api-5', 'api')
    const worker = await storeAt(at)
    await worker.registerProcess('worker-1', 'worker')
    const found = await worker.leftOpen({ ...now, kind: 'guard' })
    expect(found.map(({ id, unopened }) => [id, unopened])).toEqual([
      ['api-1', false],
      ['api-2', false],
      ['api-4', false],
      ['api-5', true],
    ])
  })

  test('names webhooks on their way, those that nobody has started yet marked, and running validations', async () => {
    const store = await servingStore(await place(), 'api-1')
    const ids = flightIds(2)
    const webhook = { url: 'https://hooks.test/a', events: ['start'], base: 'https://api.test' } as const
    await store.admit(admissionOf(ids, { items: ids.map((id) => newPrediction(id, { webhook })) }))
    for (const id of ids) await taken(store, id)
    const [started] = await store.outboxNext([ids[0]!])
    await store.outboxDone(started!.seq)
    const deliveries = await store.leftOpen({ ...now, kind: 'delivery' })
    const unsentOf = new Map(deliveries.map(({ id, unsent }) => [id, unsent]))
    const [first] = await store.deliveries.list(ids[0]!)
    const [second] = await store.deliveries.list(ids[1]!)
    expect(unsentOf).toEqual(
      new Map([
        [first!.id, false],
        [second!.id, true],
      ]),
    )
    await store.deliveries.tried(first!.id, { status: 'succeeded', answer: 200, error: '' })
    expect(await idsOf(store, 'delivery')).toEqual([second!.id])

    for (const id of ['validation-1', 'validation-2'])
      await store.validations.create({ id, modelName: 'm', spec: '{}' })
    await store.validations.end('validation-1', { verdict: 'ABORTED' })
    expect(await idsOf(store, 'validation')).toEqual(['validation-2'])
  })

  test('a record whose flight has lost its row is named all the same, and can be started', async () => {
    const at = await place()
    const store = await servingStore(at, 'api-1')
    const [id] = await admitted(store)
    await store.markStarted([prefixOf(id!)])
    const flight = await store.flightStarts([prefixOf(id!)])
    await probe(at).query('delete from flights')
    expect(await idsOf(store, 'flight')).toEqual([prefixOf(id!)])
    expect(await store.flightStarts([prefixOf(id!)])).toEqual(flight)
  })

  test('leaves out what is younger by its own clock, and other deployments on the same database', async () => {
    const at = await place()
    const store = await servingStore(at, 'api-1')
    const [id] = await admitted(store)
    await store.validations.create({ id: 'validation-1', modelName: 'm', spec: '{}' })
    for (const kind of everyKind) expect(await idsOf(store, kind, { minAgeMs: 60_000 }), kind).toEqual([])
    expect(await idsOf(store, 'flight', { queue: 'another' })).toEqual([])
    await probe(at).query('update predictions set created_at = created_at - 90000')
    const [aged] = await store.leftOpen({ ...now, kind: 'flight', minAgeMs: 60_000 })
    expect(aged?.id).toBe(prefixOf(id!))
    expect(aged?.ageMs).toBeGreaterThanOrEqual(90_000)
    expect(aged?.ageMs).toBeLessThan(90_000 + 60_000)
  })

  test('comes in pages of 500, none twice and none left out', async () => {
    const at = await place()
    const store = await servingStore(at, 'api-1')
    const ids = Array.from({ length: 1_203 }, () => flightIds(1)[0]!)
    const rows = ids.map(
      (id) => `('${id}', 'm', '', 'pending', 1, 'critical', 0, '', '', 'v2', '${prefixOf(id)}')`,
    )
    await probe(at).query(
      `insert into predictions (id, model_name, model_version, status, created_at, queue, queue_num, queue_id, uid,
        platform, flight) values ${rows.join()}`,
    )
    const pages: string[][] = []
    for (let page = await idsOf(store, 'flight'); page.length > 0; ) {
      pages.push(page)
      page = await idsOf(store, 'flight', { after: page.at(-1)! })
    }
    expect(pages.map((page) => page.length)).toEqual([500, 500, 203])
    expect(new Set(pages.flat())).toEqual(new Set(ids.map(prefixOf)))
  })
})
