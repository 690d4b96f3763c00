/** What the store counts for metrics, and the trace it keeps with a prediction. */
import { expect, test } from 'vitest'
import {
  admissionOf,
  admitted,
  describeStores,
  flightIds,
  limits,
  newPrediction,
  servingStore,
  taken,
} from './support/stores.ts'

describeStores('figures', (kind) => {
  test('say what is left to do, and since when', async () => {
    const store = await servingStore(await kind.place(), 'api-1', { mirror: true })
    const none = await store.figures('critical', 60_000)
    expect(none).toMatchObject({ waiting: 0, running: 0, providerJobs: 0, outbox: 0, validationsOpen: 0 })
    expect(none.oldestWaitingAt).toBeUndefined()
    expect(none.oldestOutboxAt).toBeUndefined()

    const before = Date.now()
    const [first, second] = await admitted(store, 3)
    await store.validations.create({ id: 'validation-1', modelName: 'm', spec: '{}' })
    const waiting = await store.figures('critical', 60_000)
    expect(waiting).toMatchObject({ waiting: 3, running: 0, outbox: 3, validationsOpen: 1 })
    // The store's clock may be another machine's.
    expect(Math.abs((waiting.oldestWaitingAt ?? 0) - before)).toBeLessThan(60_000)
    expect(waiting.oldestOutboxAt).toBe(waiting.oldestWaitingAt)

    const token = await taken(store, first!)
    await store.beginJob(first!, token)
    await store.jobCreated(first!, '{"jobId":"j","hints":{}}')
    expect(await store.figures('critical', 60_000)).toMatchObject({
      ...{ waiting: 2, running: 1, overdue: 0, providerJobs: 1 },
    })
    expect(await store.figures('critical', -60_000)).toMatchObject({ running: 1, overdue: 1 })
    await store.cancel(first!)
    await store.cancel(second!)
    await store.validations.end('validation-1', { verdict: 'ABORTED' })
    expect(await store.figures('critical', 60_000)).toMatchObject({
      ...{ waiting: 1, running: 0, providerJobs: 0, providerCancelsDue: 1, validationsOpen: 0 },
    })
    expect(await store.figures('another', 60_000)).toMatchObject({ waiting: 0, providerCancelsDue: 1 })
  })

  test('a trace is handed to whoever takes the prediction; without one nothing is', async () => {
    const store = await servingStore(await kind.place())
    const trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    const [traced, plain] = flightIds(2)
    const items = [newPrediction(traced!, { trace }), newPrediction(plain!)]
    await store.admit(admissionOf([traced!, plain!], { items }))
    expect(await store.take(traced!, 'api-1', limits)).toMatchObject({ outcome: 'taken', trace })
    expect(await store.take(plain!, 'api-1', limits)).not.toHaveProperty('trace')
  })
})
