/** Webhooks in the store's contract: events noted with the change they tell of, tries counted, endpoints that are gone. */
import { expect, test } from 'vitest'
import type { WebhookOrder } from '../records/store.ts'
import {
  admissionOf,
  describeStores,
  flightIds,
  limits,
  newPrediction,
  servingStore,
  taken,
} from './support/stores.ts'

const order: WebhookOrder = {
  url: 'https://hooks.test/a',
  events: ['start', 'completed'],
  base: 'https://api.test',
}

describeStores('webhooks', (kind) => {
  async function ordered(webhook: WebhookOrder = order, count = 1) {
    const store = await servingStore(await kind.place())
    const ids = flightIds(count)
    await store.admit(admissionOf(ids, { items: ids.map((id) => newPrediction(id, { webhook })) }))
    return { store, ids, id: ids[0]! }
  }

  test('start and completed are noted once each, with a row that says so', async () => {
    const { store, id } = await ordered()
    expect(await store.outboxNext([id])).toEqual([])
    const token = await taken(store, id)
    await store.release(id, token, 0, 'platform_busy')
    const again = await store.take(id, 'api-1', limits)
    expect(again).toMatchObject({ outcome: 'taken', owes: true })
    await store.transition(id, 'succeeded', { outputs: '1' })
    await store.transition(id, 'succeeded', { outputs: '2' })
    const deliveries = await store.deliveries.list(id)
    expect(deliveries).toMatchObject([
      { event: 'start', url: order.url, status: 'waiting', attempts: 0, body: null },
      { event: 'completed', predictionId: id },
    ])
    const bodies: string[] = []
    for (let [row] = await store.outboxNext([id]); row; [row] = await store.outboxNext([id])) {
      expect(row.kind).toBe('webhook')
      bodies.push(JSON.parse(row.body) as string)
      await store.outboxDone(row.seq)
    }
    expect(bodies).toEqual(deliveries.map((delivery) => delivery.id))
    expect(await store.deliveries.orderOf(id)).toEqual(order)
    expect(await store.take(id, 'api-1', limits)).toMatchObject({ outcome: 'terminal', owes: true })
  })

  // PR-19
  test('a prediction does not expire before the first try of its webhook has made the body', async () => {
    const { store, id } = await ordered({ ...order, events: ['completed'] })
    await store.cancel(id)
    for (const row of await store.outboxNext([id])) await store.outboxDone(row.seq)
    expect(await store.expire(-60_000)).toBe(0)
    const [delivery] = await store.deliveries.list(id)
    await store.deliveries.keepBody(delivery!.id, '{}')
    expect(await store.expire(-60_000)).toBe(1)
    expect(await store.deliveries.get(delivery!.id)).toMatchObject({ status: 'waiting', body: '{}' })
  })

  test.each(['cancel', 'deletePending', 'settleDoubt'] as const)(
    'a prediction that ends by %s is told too',
    async (how) => {
      const { store, id } = await ordered({ ...order, events: ['completed'] })
      if (how === 'cancel') await store.cancel(id)
      if (how === 'deletePending') await store.deletePending('critical')
      if (how === 'settleDoubt') await store.settleDoubt('critical', [id])
      expect(await store.deliveries.list(id)).toMatchObject([{ event: 'completed' }])
      expect(await store.outboxNext([id])).toHaveLength(1)
    },
  )

  test('the first body stays, tries are counted, and an end can be reopened', async () => {
    const { store, id } = await ordered()
    await store.cancel(id)
    const [delivery] = await store.deliveries.list(id)
    const { id: event } = delivery!
    expect(await store.deliveries.keepBody(event, '{"a":1}')).toBe('{"a":1}')
    expect(await store.deliveries.keepBody(event, '{"a":2}')).toBe('{"a":1}')
    await store.deliveries.tried(event, { status: 'waiting', answer: 500, error: 'e', nextInMs: 5_000 })
    const waiting = await store.deliveries.get(event)
    expect(waiting).toMatchObject({
      status: 'waiting',
      attempts: 1,
      lastStatus: 500,
      lastError: 'e',
      endedAt: null,
    })
    expect(Date.parse(waiting!.nextAt!) - Date.parse(waiting!.triedAt!)).toBe(5_000)
    expect(await store.deliveries.reopen(event)).toBe(false)
    await store.deliveries.tried(event, { status: 'gone', answer: 410, error: 'gone' })
    expect(await store.deliveries.isGone(order.url)).toBe(true)
    expect(await store.deliveries.reopen(event)).toBe(true)
    expect(await store.deliveries.isGone(order.url)).toBe(false)
    await store.deliveries.tried(event, { status: 'succeeded', answer: 204, error: '' })
    expect(await store.deliveries.get(event)).toMatchObject({
      status: 'succeeded',
      attempts: 3,
      nextAt: null,
    })
    expect(await store.deliveries.get('none')).toBeUndefined()
  })

  test('what a process had called itself and not told is owed by it', async () => {
    const store = await servingStore(await kind.place(), 'api-1', { mirror: true })
    const [direct, flying] = [flightIds(1)[0]!, flightIds(1)[0]!]
    await store.begin({ ...newPrediction(direct), queue: 'critical', platform: 'v2' }, 'api-1')
    expect(await store.outboxOwedBy('api-1', 10)).toEqual([])
    await store.transition(direct, 'succeeded', { outputs: '1' })
    await store.admit(admissionOf([flying]))
    await store.cancel(flying)
    expect(await store.outboxOwedBy('api-1', 10)).toEqual([direct])
    expect(await store.outboxOwedBy('api-2', 10)).toEqual([])
  })
})
