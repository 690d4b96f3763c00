/** How predictions enter the store: admission, its repetition, what is in doubt, direct calls. */
import { expect, test } from 'vitest'
import {
  admissionOf,
  admitted,
  describeStores,
  flightIds,
  limits,
  newPrediction,
  servingStore,
  storeAt,
  taken,
} from './support/stores.ts'

const sync = (id: string) => ({ ...newPrediction(id), queue: 'critical', platform: 'v2' as const })

describeStores('admission', (kind) => {
  test('an admitted prediction is pending, in its flight, with the number that waited before it', async () => {
    const store = await servingStore(await kind.place())
    const ids = flightIds(3)
    const answer = await store.admit(
      admissionOf(ids, { items: ids.map((id) => newPrediction(id, { uid: 'u7' })) }),
    )
    expect(answer).toEqual({
      outcome: 'admitted',
      items: [0, 1, 2].map((queueNum) => ({ outcome: 'accepted', queueNum })),
    })
    const record = await store.get(ids[2]!)
    expect(record).toMatchObject({
      id: ids[2],
      status: 'pending',
      queueNum: 2,
      queueId: `flight-${ids[2]!.slice(0, 18)}`,
      uid: 'u7',
      outputs: 'null',
      runningTime: '',
      errorInfo: '',
      startedAt: null,
      endedAt: null,
      attempts: 0,
    })
    expect(record?.createdAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  })

  test('an admission whose answer was lost may be repeated: same answer, nothing twice', async () => {
    const store = await servingStore(await kind.place())
    const admission = admissionOf(flightIds(4))
    const first = await store.admit(admission)
    await store.take(admission.items[0]!.id, 'api-1', limits)
    expect(await store.admit(admission)).toEqual(first)
    expect(await store.count('critical')).toEqual({ waiting: 3, running: 1 })
  })

  test('a prefix that another flight has is a collision, and nothing is written', async () => {
    const store = await servingStore(await kind.place())
    const [id] = await admitted(store)
    const other = `${id!.slice(0, 18)}-9999-000000000000`
    expect(await store.admit(admissionOf([other]))).toEqual({ outcome: 'collision' })
    expect(await store.get(other)).toBeUndefined()
  })

  test('the limit is exact per queue: the rest of a group is full', async () => {
    const store = await servingStore(await kind.place())
    await admitted(store, 3)
    const ids = flightIds(4)
    const answer = await store.admit(admissionOf(ids, { maxQueueSize: 5 }))
    expect(answer.outcome === 'admitted' && answer.items.map((item) => item.outcome)).toEqual([
      'accepted',
      'accepted',
      'full',
      'full',
    ])
    expect(await store.get(ids[2]!)).toBeUndefined()
    await admitted(store, 5, { queue: 'other', maxQueueSize: 5 })
    expect(await store.count('critical')).toEqual({ waiting: 5, running: 0 })
  })

  test('a process that is not open admits and begins nothing', async () => {
    const store = await storeAt(await kind.place())
    const [id] = flightIds(1)
    const refused = (state: string) => ({ outcome: 'process_not_open', state })
    expect(await store.admit(admissionOf([id!]))).toEqual(refused('unknown'))
    await store.registerProcess('api-1', 'api')
    expect(await store.admit(admissionOf([id!]))).toEqual(refused('new'))
    expect(await store.openProcess('api-1')).toBe(true)
    await store.closeProcess('api-1')
    expect(await store.admit(admissionOf([id!]))).toEqual(refused('closing'))
    expect(await store.begin(sync(id!), 'api-1')).toEqual(refused('closing'))
    await store.leaveProcess('api-1')
    expect(await store.openProcess('api-1')).toBe(false)
    expect(await store.begin(sync(id!), 'api-1')).toEqual(refused('dead'))
    expect(await store.get(id!)).toBeUndefined()
  })

  test('one idempotency key stands for one prediction, within a group and later; another request is a mismatch', async () => {
    const store = await servingStore(await kind.place())
    const keyed = (id: string, fingerprint: string) =>
      newPrediction(id, { idempotency: { key: 'tenant/k1', fingerprint } })
    const ids = flightIds(2)
    expect(await store.admit(admissionOf(ids, { items: ids.map((id) => keyed(id, 'f1')) }))).toEqual({
      outcome: 'admitted',
      items: [
        { outcome: 'accepted', queueNum: 0 },
        { outcome: 'earlier', id: ids[0] },
      ],
    })
    const later = flightIds(2)
    const items = [keyed(later[0]!, 'f1'), keyed(later[1]!, 'f2')]
    expect(await store.admit(admissionOf(later, { items, maxQueueSize: 1 }))).toEqual({
      outcome: 'admitted',
      items: [{ outcome: 'earlier', id: ids[0] }, { outcome: 'mismatch' }],
    })
    const direct = flightIds(1)[0]!
    expect(await store.begin({ ...sync(direct), ...keyed(direct, 'f1') }, 'api-1')).toEqual({
      outcome: 'earlier',
      id: ids[0],
    })
    expect(await store.count('critical')).toEqual({ waiting: 1, running: 0 })
  })

  test('an idempotency key ends with its lifetime', async () => {
    const place = await kind.place()
    const store = await servingStore(place, 'api-1', { keyLifetimeMs: 0 })
    const idempotency = { key: 'k', fingerprint: 'f' }
    for (let round = 0; round < 2; round++) {
      const [id] = flightIds(1)
      const items = [newPrediction(id!, { idempotency })]
      expect(await store.admit(admissionOf([id!], { items }))).toMatchObject({
        items: [{ outcome: 'accepted' }],
      })
    }
  })

  // PR-03
  test('what was committed is answered as accepted, whatever has become of the process', async () => {
    const store = await servingStore(await kind.place())
    const admission = admissionOf(flightIds(2))
    const first = await store.admit(admission)
    await store.closeProcess('api-1')
    expect(await store.admit(admission)).toEqual(first)
    await store.leaveProcess('api-1')
    expect(await store.admit(admission)).toEqual(first)
    // What of the group was refused before is not taken in now.
    const more = {
      ...admission,
      items: [...admission.items, newPrediction(`${admission.flight.prefix}-8888-000000000000`)],
    }
    expect(await store.admit(more)).toMatchObject({ items: [{}, {}, { outcome: 'full' }] })
  })

  // PR-03
  test('settling a doubt ends what nobody has taken and has no key; it inserts nothing and may be repeated', async () => {
    const store = await servingStore(await kind.place())
    const ids = flightIds(4)
    const idempotency = { key: 'k', fingerprint: 'f' }
    await store.admit(
      admissionOf(ids, {
        items: ids.map((id, n) => newPrediction(id, n === 0 ? { idempotency } : {})),
      }),
    )
    await taken(store, ids[1]!)
    await store.cancel(ids[2]!)
    const unknown = flightIds(1)[0]!
    for (let round = 0; round < 2; round++) {
      await store.settleDoubt('critical', [...ids, unknown])
      const statuses = await Promise.all(ids.map(async (id) => (await store.get(id))?.status))
      expect(statuses).toEqual(['pending', 'running', 'canceled', 'failed'])
    }
    expect(await store.get(ids[3]!)).toMatchObject({
      errorInfo: 'task queue failed',
      errorCode: 'task_queue_failed',
    })
    expect(await store.get(unknown)).toBeUndefined()
  })

  // PR-04
  test('a direct call that its caller does not know of ends failed and frees its key; one that never began leaves nothing', async () => {
    const store = await servingStore(await kind.place())
    const [begun, never, others] = [flightIds(1)[0]!, flightIds(1)[0]!, flightIds(1)[0]!]
    const idempotency = { key: 'k', fingerprint: 'f' }
    await store.begin({ ...sync(begun), idempotency }, 'api-1')
    await store.begin(sync(others), 'api-1')
    await store.transition(others, 'succeeded', { outputs: '1' })
    for (let round = 0; round < 2; round++) await store.abandonBegun('api-1', [begun, never, others])
    expect(await store.get(begun)).toMatchObject({ status: 'failed', errorCode: 'store_unavailable' })
    expect(await store.get(never)).toBeUndefined()
    expect(await store.get(others)).toMatchObject({ status: 'succeeded' })
    const again = flightIds(1)[0]!
    expect(await store.begin({ ...sync(again), idempotency }, 'api-1')).toMatchObject({ outcome: 'begun' })
  })

  // PR-08
  test('unstarted flights are listed with all that their starts need, also for members that have ended and owe a message', async () => {
    const store = await servingStore(await kind.place(), 'api-1', { mirror: true })
    const ids = flightIds(2)
    await store.admit(
      admissionOf(ids, {
        flight: { ...admissionOf(ids).flight, priority: 2, fairnessKey: 'team', streamed: true },
      }),
    )
    const [marked] = await admitted(store)
    await store.markStarted([marked!.slice(0, 18)])
    await store.cancel(ids[0]!)
    await store.cancel(ids[1]!)
    const { flights, isLast } = await store.unstarted('api-1', '')
    expect(flights).toEqual([
      {
        prefix: ids[0]!.slice(0, 18),
        ...{ ids, models: ['iris'], platform: 'v2', lane: 'call', heartbeatTimeoutMs: 2_000 },
        ...{ priority: 2, fairnessKey: 'team', streamer: 'api-1' },
      },
    ])
    expect(isLast).toBe(true)
    expect((await store.unstarted('api-1', ids[0]!.slice(0, 18))).flights).toEqual([])
    expect((await store.unstarted('api-2', '')).flights).toEqual([])
  })

  test('a direct call begins running in the hands of its process, and its start may be repeated', async () => {
    const store = await servingStore(await kind.place())
    const id = flightIds(1)[0]!
    const begun = await store.begin(sync(id), 'api-1')
    expect(begun).toEqual({ outcome: 'begun', token: expect.any(Number) })
    expect(await store.begin(sync(id), 'api-1')).toEqual(begun)
    expect(await store.get(id)).toMatchObject({ status: 'running', queueNum: 0, queueId: '', attempts: 1 })
    expect(await store.count('critical')).toEqual({ waiting: 0, running: 1 })
    expect(await store.take(id, 'api-1', limits)).toMatchObject({ outcome: 'held', holder: 'api-1' })
  })
})
