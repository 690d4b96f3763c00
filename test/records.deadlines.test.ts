/** Deadlines of predictions in the store's contract: who is past one ends, once, in the words of the deadline. */
import { setTimeout as delay } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { NewPrediction } from '../records/store.ts'
import {
  admissionOf,
  describeStores,
  flightIds,
  limits,
  newPrediction,
  servingStore,
  taken,
} from './support/stores.ts'

/** Time enough to take it before, on a busy machine too. */
const soonMs = 1_500

describeStores('deadlines', (kind) => {
  async function stage(...items: Partial<NewPrediction>[]) {
    const store = await servingStore(await kind.place())
    const ids = flightIds(items.length)
    await store.admit(admissionOf(ids, { items: ids.map((id, n) => newPrediction(id, items[n])) }))
    return { store, ids, id: ids[0]! }
  }

  test('a prediction that has not begun by its deadline is aborted, naming the state of its queue', async () => {
    const { store, ids, id } = await stage({ cancelAfterMs: 1 }, {}, { cancelAfterMs: 60_000 })
    await store.pause('critical')
    await delay(2)
    expect(await store.take(id, 'api-1', limits)).toEqual({ outcome: 'overdue' })
    const { ended, nextMs } = await store.endOverdue(ids)
    expect(ended).toEqual([id])
    expect(nextMs).toBeGreaterThan(50_000)
    expect(await store.get(id)).toMatchObject({
      status: 'canceled',
      errorCode: 'prediction_aborted',
      errorInfo: 'the deadline passed before the start: the queue is paused, 3 waiting',
      startedAt: null,
      deadlineAt: expect.stringMatching(/^\d{4}-/),
    })
    expect(await store.get(ids[1]!)).toMatchObject({ status: 'pending', deadlineAt: null })
    expect(await store.endOverdue([id, ids[1]!])).toEqual({ ended: [] })
  })

  test('a group past its deadline names what waited with it, the same for all', async () => {
    const { store, ids } = await stage({ cancelAfterMs: 1 }, { cancelAfterMs: 1 }, {})
    await delay(2)
    const [one, other] = ids as [string, string]
    expect((await store.endOverdue(ids)).ended.toSorted()).toEqual([one, other].toSorted())
    for (const id of [one, other]) {
      expect(await store.get(id)).toMatchObject({
        errorCode: 'prediction_aborted',
        errorInfo: 'the deadline passed before the start: 3 waiting',
      })
    }
  })

  test('one that runs is canceled whoever holds it, its job is to be canceled, and its caller is told', async () => {
    const webhook = { url: 'https://hooks.test/a', events: ['completed'] as const, base: 'https://api.test' }
    const { store, id } = await stage({ cancelAfterMs: soonMs, webhook })
    const token = await taken(store, id)
    await store.beginJob(id, token)
    await store.jobCreated(id, '{"jobId":"j","hints":{}}')
    await delay(soonMs)
    expect(await store.take(id, 'api-1', limits)).toEqual({ outcome: 'overdue' })
    expect(await store.endOverdue([id])).toEqual({ ended: [id] })
    expect(await store.get(id)).toMatchObject({ status: 'canceled', errorCode: 'prediction_canceled' })
    expect(await store.cancelsDue([id])).toHaveLength(1)
    expect(await store.deliveries.list(id)).toMatchObject([{ event: 'completed' }])
    expect(await store.transition(id, 'succeeded', { outputs: '1' })).toMatchObject({ changed: false })
  })

  test('a call that gives up past the deadline was ended by the deadline, another failure is what it is', async () => {
    const dated = { cancelAfterMs: soonMs }
    const { store, ids, id } = await stage(dated, dated, {})
    const tokens: number[] = []
    for (const one of ids) tokens.push(await taken(store, one))
    await delay(soonMs)
    const timeout = { errorCode: 'prediction_timeout', errorInfo: 'predict timeout' }
    expect(await store.transition(id, 'failed', timeout, tokens[0])).toEqual({
      changed: true,
      status: 'canceled',
    })
    expect(await store.get(id)).toMatchObject({
      errorCode: 'prediction_canceled',
      errorInfo: 'the deadline passed while it ran',
    })
    const rejected = { errorCode: 'platform_rejected' }
    expect(await store.transition(ids[1]!, 'failed', rejected, tokens[1])).toMatchObject({ status: 'failed' })
    expect(await store.transition(ids[2]!, 'failed', timeout, tokens[2])).toMatchObject({ status: 'failed' })
  })

  test('what is taken knows how long it has: a little longer than to the deadline, at most its budget', async () => {
    const { store, ids } = await stage({ cancelAfterMs: 10_000 }, { cancelAfterMs: 3_600_000 })
    const near = await store.take(ids[0]!, 'api-1', limits)
    const far = await store.take(ids[1]!, 'api-1', limits)
    if (near.outcome !== 'taken' || far.outcome !== 'taken') throw new Error('not taken')
    expect(near.remainingMs).toBeGreaterThan(2_000)
    expect(near.remainingMs).toBeLessThanOrEqual(12_000)
    expect(near.spentMs).toBe(0)
    expect(far.remainingMs).toBe(limits.taskTimeoutMs)
  })

  test('a flight that is not started yet knows the first of its deadlines', async () => {
    const { store } = await stage({ cancelAfterMs: 50_000 }, { cancelAfterMs: 20_000 }, {})
    const { flights } = await store.unstarted('api-1', '')
    expect(flights).toHaveLength(1)
    expect(flights[0]!.deadlineInMs).toBeGreaterThan(0)
    expect(flights[0]!.deadlineInMs).toBeLessThanOrEqual(20_000)
  })

  test('members of a flight that was never started end at their deadlines, and it is started without them', async () => {
    const { store, ids } = await stage({ cancelAfterMs: 1 }, {})
    await expect
      .poll(async () => (await store.unstarted('api-1', '')).flights.map((flight) => flight.ids))
      .toEqual([[ids[1]]])
    expect(await store.get(ids[0]!)).toMatchObject({ status: 'canceled', errorCode: 'prediction_aborted' })
  })
})
