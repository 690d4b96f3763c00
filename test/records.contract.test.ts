/** The rest of the store's contract: endings, queues, listing, settling, outbox, retention. */
import { expect, test, vi } from 'vitest'
import { ServiceError } from '../contracts/errors.ts'
import type { Store } from '../records/store.ts'
import {
  admissionOf,
  admitted,
  describeStores,
  flightIds,
  limits,
  newPrediction,
  probeAt,
  servingStore,
  storeAt,
  taken,
} from './support/stores.ts'

const sync = (id: string) => ({ ...newPrediction(id), queue: 'critical', platform: 'v2' as const })

describeStores('terminal statuses', (kind) => {
  test('the first terminal write wins; status, outputs, error and running time freeze together', async () => {
    const store = await servingStore(await kind.place())
    const [id] = await admitted(store)
    const token = await taken(store, id!)
    const outputs = '{"y":[12345678901234567890,1.50]}'
    expect(
      await store.transition(id!, 'succeeded', { outputs, runningTime: '0.25s', runMs: 250 }, token),
    ).toEqual({ changed: true, status: 'succeeded' })
    const frozen = await store.get(id!)
    expect(frozen).toMatchObject({ status: 'succeeded', outputs, runningTime: '0.25s' })
    expect(await store.transition(id!, 'failed', { errorInfo: 'late' }, token)).toEqual({
      changed: false,
      status: 'succeeded',
    })
    expect(await store.transition(id!, 'succeeded', { outputs: '2' })).toMatchObject({ changed: false })
    expect(await store.cancel(id!)).toEqual({ outcome: 'terminal', status: 'succeeded' })
    expect(await store.take(id!, 'api-1', limits)).toEqual({ outcome: 'terminal', status: 'succeeded' })
    expect(await store.get(id!)).toEqual(frozen)
  })

  test('cancel ends waiting and running predictions and answers the same when repeated', async () => {
    const store = await servingStore(await kind.place())
    const ids = await admitted(store, 2)
    const token = await taken(store, ids[1]!)
    for (const id of ids) {
      expect(await store.cancel(id)).toEqual({ outcome: 'canceled' })
      expect(await store.cancel(id)).toEqual({ outcome: 'already_canceled' })
      expect(await store.get(id)).toMatchObject({ status: 'canceled', endedAt: expect.any(String) })
    }
    expect(await store.transition(ids[1]!, 'succeeded', { outputs: '1' }, token)).toEqual({
      changed: false,
      status: 'canceled',
    })
    expect(await store.release(ids[1]!, token, 0, 'platform_busy')).toBe(false)
    expect(await store.cancel(flightIds(1)[0]!)).toEqual({ outcome: 'unknown' })
    expect(await store.transition(flightIds(1)[0]!, 'succeeded', {})).toEqual({
      changed: false,
      status: 'unknown',
    })
  })

  test('a cancel and a completion in one turn give one terminal status', async () => {
    const store = await servingStore(await kind.place())
    const ids = await admitted(store, 20)
    const tokens = await Promise.all(ids.map((id) => taken(store, id)))
    await Promise.all(
      ids.map(async (id, n) => {
        const end = () => store.transition(id, 'succeeded', { outputs: '1' }, tokens[n])
        const cancel = () => store.cancel(id)
        const [first, second] = n % 2 === 0 ? [end, cancel] : [cancel, end]
        await Promise.all([first(), second()])
        expect((await store.get(id))?.status).toBe(n % 2 === 0 ? 'succeeded' : 'canceled')
      }),
    )
  })

  test('delete pending cancels what waits, of one model if told, and leaves the rest', async () => {
    const store = await servingStore(await kind.place())
    const ids = flightIds(4)
    await store.admit(
      admissionOf(ids, {
        items: ids.map((id, n) => newPrediction(id, { modelName: n % 2 ? 'odd' : 'even' })),
      }),
    )
    await taken(store, ids[0]!)
    const [elsewhere] = await admitted(store, 1, { queue: 'other' })
    const flights = [ids[0]!.slice(0, 18)]
    expect(await store.deletePending('critical', 'odd')).toEqual({ deleted: 2, pending: 3, flights })
    expect(await store.deletePending('critical')).toEqual({ deleted: 1, pending: 1, flights })
    const statuses = await Promise.all([...ids, elsewhere!].map(async (id) => (await store.get(id))?.status))
    expect(statuses).toEqual(['running', 'canceled', 'canceled', 'canceled', 'pending'])
  })

  test('terminalAmong names exactly the terminal ones', async () => {
    const store = await servingStore(await kind.place())
    const ids = await admitted(store, 4)
    await store.cancel(ids[0]!)
    await store.transition(ids[1]!, 'failed', {}, await taken(store, ids[1]!))
    await taken(store, ids[2]!)
    expect(await store.terminalAmong([...ids, flightIds(1)[0]!])).toEqual(
      new Map([
        [ids[0], 'canceled'],
        [ids[1], 'failed'],
      ]),
    )
    expect(await store.terminalAmong([])).toEqual(new Map())
  })
})

describeStores('queue', (kind) => {
  test('pause refuses waiting predictions only, for every store of the place, and outlives them', async () => {
    const place = await kind.place()
    const store = await servingStore(place)
    const ids = await admitted(store, 2)
    const token = await taken(store, ids[0]!)
    const other = await storeAt(place)
    expect(await other.pause('critical')).toBe(true)
    expect(await store.pause('critical')).toBe(false)
    expect(await store.take(ids[1]!, 'api-1', limits)).toEqual({ outcome: 'paused' })
    await store.release(ids[0]!, token, 0, 'platform_busy')
    await vi.waitFor(async () =>
      expect(await store.take(ids[0]!, 'api-1', limits)).toMatchObject({ outcome: 'taken' }),
    )
    await admitted(store, 1)
    expect(await (await storeAt(place)).unpause('critical')).toBe(true)
    expect(await store.unpause('critical')).toBe(false)
    expect(await store.take(ids[1]!, 'api-1', limits)).toMatchObject({ outcome: 'taken' })
  })

  test('a queue can be paused before its first prediction, apart from others', async () => {
    const store = await servingStore(await kind.place())
    expect(await store.unpause('critical')).toBe(false)
    expect(await store.pause('critical')).toBe(true)
    const [here] = await admitted(store)
    const [there] = await admitted(store, 1, { queue: 'other' })
    expect(await store.take(here!, 'api-1', limits)).toEqual({ outcome: 'paused' })
    expect(await store.take(there!, 'api-1', limits)).toMatchObject({ outcome: 'taken' })
  })

  // PR-23
  test('waiting flights are named page by page, longest waiting first', async () => {
    const store = await servingStore(await kind.place())
    const flights = []
    for (let n = 0; n < 3; n++) flights.push(await admitted(store, 2))
    await taken(store, flights[0]![0]!)
    await taken(store, flights[1]![0]!)
    await taken(store, flights[1]![1]!)
    const prefixes = [flights[0]!, flights[2]!].map(([id]) => id!.slice(0, 18))
    const page = (after: number, limit: number) => store.waitingFlights('critical', after, limit)
    expect(await page(0, 10)).toEqual({ prefixes, next: undefined })
    const first = await page(0, 1)
    expect(first).toEqual({ prefixes: prefixes.slice(0, 1), next: expect.any(Number) })
    const second = await page(first.next!, 1)
    expect(second).toEqual({ prefixes: prefixes.slice(1), next: expect.any(Number) })
    // Its other member still waits.
    const third = await page(second.next!, 1)
    expect(third).toEqual({ prefixes: prefixes.slice(1), next: expect.any(Number) })
    expect(await page(third.next!, 1)).toEqual({ prefixes: [], next: undefined })
    expect(await store.waitingFlights('other', 0, 10)).toEqual({ prefixes: [], next: undefined })
  })

  // PR-23
  test('no page passes by a flight that waits, also while members are taken and deleted', async () => {
    const store = await servingStore(await kind.place())
    const flights = []
    for (let n = 0; n < 6; n++) flights.push(await admitted(store, 2))
    const found = new Set<string>()
    for (let next: number | undefined = 0, at = 0; next !== undefined; at++) {
      const page = await store.waitingFlights('critical', next, 2)
      for (const prefix of page.prefixes) found.add(prefix)
      next = page.next
      // One of a page that is over, one of a page to come.
      for (const flight of [flights[at], flights[5 - at]]) {
        if (flight !== undefined && (await store.get(flight[0]!))?.status === 'pending')
          await taken(store, flight[0]!)
      }
    }
    expect([...found].sort()).toEqual(flights.map(([id]) => id!.slice(0, 18)).sort())
  })

  test('the mean run time is that of the latest successes of the model', async () => {
    const store = await servingStore(await kind.place())
    expect(await store.meanRunMs('iris')).toBeUndefined()
    const ids = await admitted(store, 30)
    for (const [n, id] of ids.entries()) {
      const token = await taken(store, id)
      if (n === 29) await store.transition(id, 'failed', { runMs: 9999 }, token)
      else await store.transition(id, 'succeeded', { runMs: n < 9 ? 1000 : 10 }, token)
    }
    expect(await store.meanRunMs('iris')).toBe(10)
    expect(await store.meanRunMs('other')).toBeUndefined()
  })
})

describeStores('listing', (kind) => {
  test('pages go newest first without gaps or repeats while more is written', async () => {
    const store = await servingStore(await kind.place())
    const ids = await admitted(store, 25)
    const seen: string[] = []
    let cursor: string | undefined
    do {
      const page = await store.list({ limit: 7, ...(cursor === undefined ? {} : { cursor }) })
      seen.push(...page.items.map((item) => item.id))
      cursor = page.nextCursor
      await admitted(store, 1)
      await store.transition(ids[seen.length % 25]!, 'succeeded', {})
    } while (cursor !== undefined)
    expect(seen).toEqual(ids.toReversed())
  })

  test('filters by queue, model and status combine', async () => {
    const store = await servingStore(await kind.place())
    const ids = flightIds(6)
    await store.admit(
      admissionOf(ids, { items: ids.map((id, n) => newPrediction(id, { modelName: `m${n % 2}` })) }),
    )
    await admitted(store, 1, { queue: 'other' })
    for (const id of ids.slice(0, 4)) await store.cancel(id)
    const found = async (filter: Partial<Parameters<Store['list']>[0]>) =>
      (await store.list({ limit: 100, ...filter })).items.map((item) => ids.indexOf(item.id))
    expect(await found({ queue: 'critical' })).toEqual([5, 4, 3, 2, 1, 0])
    expect(await found({ modelName: 'm1' })).toEqual([5, 3, 1])
    expect(await found({ status: 'canceled', modelName: 'm0' })).toEqual([2, 0])
    expect(await found({ status: 'pending', queue: 'critical' })).toEqual([5, 4])
  })

  test('an impossible limit and a foreign cursor are refused', async () => {
    const store = await storeAt(await kind.place())
    for (const filter of [{ limit: 0 }, { limit: 1001 }, { limit: 1.5 }, { limit: 5, cursor: 'x' }]) {
      await expect(store.list(filter)).rejects.toBeInstanceOf(ServiceError)
    }
  })
})

describeStores('what a dead process leaves', (kind) => {
  test('its direct calls end failed; its flights without an acknowledged start are listed until marked', async () => {
    const store = await servingStore(await kind.place())
    const direct = flightIds(2)
    for (const id of direct) await store.begin(sync(id), 'api-1')
    await store.transition(direct[1]!, 'succeeded', {})
    const first = await admitted(store, 2)
    const second = await admitted(store, 2, { started: [first[0]!.slice(0, 18)] })
    await store.cancel(second[0]!)

    expect(await store.settle('api-1', 'interrupted')).toEqual({ isAlive: true, interrupted: 0 })
    await store.leaveProcess('api-1')
    expect(await store.settle('api-1', 'interrupted')).toEqual({ isAlive: false, interrupted: 1 })
    expect(await store.get(direct[0]!)).toMatchObject({
      status: 'failed',
      errorInfo: 'interrupted',
      errorCode: 'interrupted',
    })
    expect(await store.get(direct[1]!)).toMatchObject({ status: 'succeeded' })
    expect(await store.settle('api-1', 'interrupted')).toEqual({ isAlive: false, interrupted: 0 })

    const unstarted = async () => (await store.unstarted('api-1', '')).flights.map(({ ids }) => ids)
    expect(await unstarted()).toEqual([[second[1]]])
    await store.markStarted([second[0]!.slice(0, 18)])
    expect(await unstarted()).toEqual([])
  })

  test('the flights whose calls it held are known', async () => {
    const store = await servingStore(await kind.place())
    const ids = await admitted(store, 2)
    await admitted(store)
    for (const id of ids) await taken(store, id)
    await store.begin(sync(flightIds(1)[0]!), 'api-1')
    expect(await store.flightsHeldBy('api-1')).toEqual([ids[0]!.slice(0, 18)])
    expect(await store.flightsHeldBy('api-2')).toEqual([])
  })
})

describeStores('outbox', (kind) => {
  test('with a mirror every change is noted once, in order per prediction, digit for digit', async () => {
    const store = await servingStore(await kind.place(), 'api-1', { mirror: true })
    const ids = flightIds(2)
    await store.admit(admissionOf(ids, { items: ids.map((id) => newPrediction(id, { uid: 'u1' })) }))
    const token = await taken(store, ids[0]!)
    await store.release(ids[0]!, token, 0, 'platform_busy')
    await store.transition(ids[0]!, 'succeeded', { outputs: '{"n":12345678901234567890}' })
    await store.cancel(ids[1]!)
    await store.cancel(ids[1]!)

    const drained: string[][] = [[], []]
    for (let rows = await store.outboxNext(ids); rows.length > 0; rows = await store.outboxNext(ids)) {
      for (const row of rows) {
        expect(row.kind).toBe('mirror')
        drained[ids.indexOf(row.predictionId)]!.push(row.body)
        await store.outboxDone(row.seq)
      }
    }
    const create = (n: number) => ({
      call: 'create',
      uid: 'u1',
      task: { id: ids[n], model_name: 'iris', model_version: '', queue_num: n, status: 'pending' },
    })
    expect(drained[0]!.map((body) => JSON.parse(body))).toMatchObject([
      create(0),
      { call: 'update', task: { id: ids[0], status: 'running', queue_id: `flight-${ids[0]!.slice(0, 18)}` } },
      { call: 'update', task: { status: 'succeeded' } },
    ])
    expect(drained[0]![2]).toContain('"outputs":{"n":12345678901234567890}')
    expect(drained[1]!.map((body) => JSON.parse(body))).toMatchObject([
      create(1),
      { call: 'update', task: { status: 'canceled' } },
    ])
  })

  test('without a mirror nothing is noted', async () => {
    const store = await servingStore(await kind.place())
    const ids = await admitted(store, 1)
    await store.cancel(ids[0]!)
    expect(await store.outboxNext(ids)).toEqual([])
  })
})

describeStores('retention', (kind) => {
  test('only terminal records with nothing due expire, with all that belongs to them', async () => {
    const store = await servingStore(await kind.place(), 'api-1', { mirror: true })
    const ids = await admitted(store, 1200, { maxQueueSize: 2000 })
    await Promise.all(ids.slice(2).map((id) => store.cancel(id)))
    for (let rows = await store.outboxNext(ids.slice(0, -1)); rows.length > 0; ) {
      await Promise.all(rows.map((row) => store.outboxDone(row.seq)))
      rows = await store.outboxNext(ids.slice(0, -1))
    }
    expect(await store.expire(60_000)).toBe(0)
    expect(await store.expire(-60_000)).toBe(1197)
    const left = (await store.list({ limit: 10 })).items.map((item) => item.id)
    expect(left).toEqual([ids.at(-1), ids[1], ids[0]])
    expect(await store.inputsOf(ids[5]!)).toBeUndefined()
  })

  // PR-15
  test('large records expire few at a time, one at least', async () => {
    const place = await kind.place()
    const store = await servingStore(place)
    const probe = probeAt(place)
    const ids = await admitted(store, 6)
    for (const id of ids) await store.transition(id, 'succeeded', { outputs: '1' })
    await probe.query('update predictions set ended_at = seq')
    const mib = 1024 * 1024
    for (const [n, size] of [40 * mib, 40 * mib, 0, 70 * mib].entries()) {
      const text = place.kind === 'sqlite' ? `hex(zeroblob(${size / 2}))` : `repeat('x', ${size})`
      await probe.query(`update prediction_outputs set outputs = ${text} where id = ?`, ids[n]!)
    }
    // Of each chunk first the inputs go, then the predictions.
    await probe.query('create table deletions (what text)')
    for (const table of ['prediction_inputs', 'predictions']) {
      const note = `insert into deletions values ('${table}')`
      const trigger = `create trigger note_${table} after delete on ${table}`
      if (place.kind === 'sqlite') {
        await probe.query(`${trigger} begin ${note}; end`)
      } else {
        const body = `begin ${note}; return null; end`
        await probe.query(`create function note_${table}() returns trigger language plpgsql as $$ ${body} $$`)
        await probe.query(`${trigger} for each row execute function note_${table}()`)
      }
    }
    expect(await store.expire(-60_000)).toBe(6)
    const deleted = await probe.query<{ what: string }>('select what from deletions')
    const runs = deleted
      .map(({ what }) => what)
      .join(' ')
      .match(/(prediction_inputs ?)+/g)
    expect(runs?.map((run) => run.trim().split(' ').length)).toEqual([1, 2, 1, 2])
  })
})
