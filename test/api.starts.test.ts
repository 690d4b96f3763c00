/** Accepted when committed: what the API answers while Temporal is away, hangs or refuses, and who starts it then. */
import { expect, test, vi } from 'vitest'
import { ServiceError } from '../contracts/errors.ts'
import type { FlightStart } from '../contracts/flights.ts'
import { startUnstarted } from '../runtime/temporal/unstarted.ts'
import { makeDepartures } from './support/departures.ts'
import { describeStores, servingStore } from './support/stores.ts'

const soon = { timeout: 20_000, interval: 10 }
const away = () => Promise.reject(new ServiceError('temporal_unavailable', 'away'))

describeStores('starts', (kind) => {
  // PR-03
  test('while Temporal is away everything is accepted, and starts once it is back, each flight with all it needs', async () => {
    const store = await servingStore(await kind.place())
    const { flights, asked, temporal, request } = makeDepartures(store)
    temporal(away)
    const accepted = await Promise.all([
      flights.submit(request({ priority: 2, uid: 'team' })),
      flights.submit(request({ uid: 'other', cancelAfterMs: 600_000 })),
    ])
    expect(await store.count('critical')).toEqual({ waiting: 2, running: 0 })
    temporal(async () => 'started')
    const last = (id: string) => asked.findLast(({ ids }) => ids.includes(id))
    await vi.waitFor(async () => {
      const { flights: left } = await store.unstarted('api-1', '')
      const marked = accepted.every(({ id }) => !left.some(({ ids }) => ids.includes(id)) || last(id))
      expect(marked).toBe(true)
      expect(asked.length).toBeGreaterThanOrEqual(4)
    }, soon)
    expect(last(accepted[0]!.id)).toMatchObject({
      ids: [accepted[0]!.id],
      ...{ models: ['m'], platform: 'v2', lane: 'call', priority: 2, fairnessKey: 'team' },
    })
    expect(last(accepted[1]!.id)?.deadlineInMs).toBeLessThanOrEqual(600_000)
  })

  // PR-03
  test('a Temporal that hangs delays no answer and not the next group either', async () => {
    const store = await servingStore(await kind.place())
    const { flights, temporal, request } = makeDepartures(store)
    temporal(() => new Promise(() => undefined))
    for (let n = 0; n < 5; n++)
      expect(await flights.submit(request())).toMatchObject({ id: expect.any(String) })
    expect(await store.count('critical')).toEqual({ waiting: 5, running: 0 })
  })

  test('what has started is marked with the next admission and is not started again', async () => {
    const store = await servingStore(await kind.place())
    const { flights, starts, asked, temporal, request } = makeDepartures(store)
    await flights.submit(request())
    temporal(away)
    await flights.submit(request())
    temporal(async () => 'started')
    await vi.waitFor(() => expect(asked.length).toBeGreaterThanOrEqual(3), soon)
    await starts.stop(10_000)
    expect(asked.filter(({ prefix }) => prefix === asked[0]!.prefix)).toHaveLength(1)
    expect(await store.unstarted('api-1', '')).toEqual({ flights: [], isLast: true })
  })

  // PR-05
  test('one key stands for one prediction, in a group and across groups whose starts hang', async () => {
    const store = await servingStore(await kind.place())
    const { flights, starts, asked, temporal, request } = makeDepartures(store)
    temporal(() => new Promise(() => undefined))
    const keyed = request({ idempotency: { key: 'k', fingerprint: 'f' } })
    const together = await Promise.all([flights.submit(keyed), flights.submit(keyed)])
    const later = [await flights.submit(keyed), await flights.submit({ ...keyed, uid: 'in another group' })]
    const { id } = together[0]!
    expect([...together, ...later].map((answer) => answer.id)).toEqual([id, id, id, id])
    expect(await store.count('critical')).toEqual({ waiting: 1, running: 0 })
    await starts.stop(0)
    expect(asked.flatMap(({ ids }) => ids)).toEqual([id])
  })

  // PR-15
  test('a flight ends at 16 MiB of inputs, with one prediction at least', async () => {
    const store = await servingStore(await kind.place())
    const { flights, asked, starts, request } = makeDepartures(store)
    const inputs = JSON.stringify({ inputs: 'x'.repeat(7 * 1024 * 1024) })
    const large = JSON.stringify({ inputs: 'x'.repeat(17 * 1024 * 1024) })
    await Promise.all(
      [inputs, inputs, inputs, large].map((each) => flights.submit(request({ inputs: each }))),
    )
    await vi.waitFor(() => expect(asked).toHaveLength(3), soon)
    await starts.stop(10_000)
    expect(asked.map(({ ids }) => ids.length)).toEqual([2, 1, 1])
  })

  test('more than a page of flights that are started and not marked yet is no reason to look on', async () => {
    const inHand = Array.from({ length: 3 }, (_, n) => ({ prefix: `p${n}` }) as FlightStart)
    let listed = 0
    await startUnstarted({
      async list(after) {
        listed++
        const left = inHand.filter(({ prefix }) => prefix > after)
        return { flights: left.slice(0, 1), isLast: left.length <= 1 }
      },
      start: async () => 'started',
      onStarted: () => undefined,
      onRefused: () => undefined,
      isInHand: () => true,
      signal: AbortSignal.timeout(20_000),
    })
    expect(listed).toBe(3)
  })

  // PR-14
  test('a flight that Temporal refuses is told once and holds up no other', async () => {
    const store = await servingStore(await kind.place())
    const { flights, starts, asked, refused, temporal, request } = makeDepartures(store)
    temporal(async ({ fairnessKey }) => (fairnessKey === 'bad' ? 'refused' : 'started'))
    await flights.submit(request({ uid: 'bad' }))
    await flights.submit(request({ uid: 'good' }))
    await vi.waitFor(() => expect(refused).toHaveLength(1), soon)
    await starts.stop(10_000)
    expect(refused.map(({ fairnessKey }) => fairnessKey)).toEqual(['bad'])
    expect(asked.some(({ fairnessKey }) => fairnessKey === 'good')).toBe(true)
    const { flights: left } = await store.unstarted('api-1', '')
    expect(left.map(({ fairnessKey }) => fairnessKey)).toEqual(['bad'])
  })

  test('what passes its deadline while Temporal is away ends then, and is never started', async () => {
    const store = await servingStore(await kind.place())
    const { flights, asked, temporal, request } = makeDepartures(store)
    temporal(away)
    const { id } = await flights.submit(request({ cancelAfterMs: 50 }))
    await vi.waitFor(async () => expect((await store.get(id))?.status).toBe('canceled'), soon)
    const tries = asked.length
    temporal(async () => 'started')
    await flights.submit(request())
    await vi.waitFor(() => expect(asked.length).toBeGreaterThan(tries), soon)
    expect(asked.slice(tries).flatMap(({ ids }) => ids)).not.toContain(id)
  })

  // PR-08
  test('a guard starts what its dead process left, also a member that was canceled and owes a message', async () => {
    const store = await servingStore(await kind.place(), 'api-1', { mirror: true })
    const { flights, temporal, request, starts } = makeDepartures(store)
    temporal(away)
    const { id } = await flights.submit(request())
    await store.cancel(id)
    await starts.stop(0)
    await store.leaveProcess('api-1')
    const started: string[][] = []
    const refused = await startUnstarted({
      list: (after) => store.unstarted('api-1', after),
      start: async ({ ids }) => {
        started.push(ids)
        return 'started'
      },
      onStarted: (prefixes) => store.markStarted(prefixes),
      onRefused: () => undefined,
      signal: new AbortController().signal,
    })
    expect(refused).toBe(0)
    expect(started).toEqual([[id]])
  })
})
