/** What a store names as needing a workflow, for `perdure recover`. */
import { expect, test } from 'vitest'
import { prefixOf } from '../contracts/names.ts'
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

describeStores('recovery', ({ place }) => {
  test('names flights with open members, API processes that may hold or owe something, and nothing that has ended', async () => {
    const at = await place()
    const store = await servingStore(at, 'api-1')
    expect(await store.leftOpen()).toEqual({ flights: [], processes: ['api-1'], deliveries: [] })
    const [done] = await admitted(store)
    await store.transition(done!, 'succeeded', { outputs: '1' }, await taken(store, done!))
    const open = flightIds(2)
    const dated = newPrediction(open[1]!, { modelName: 'other', cancelAfterMs: 60_000 })
    await store.admit(admissionOf(open, { items: [newPrediction(open[0]!), dated] }))
    await store.markStarted([prefixOf(open[0]!)])
    await store.transition(open[0]!, 'succeeded', { outputs: '1' }, await taken(store, open[0]!))
    const { flights } = await store.leftOpen()
    expect(flights).toEqual([
      {
        prefix: prefixOf(open[0]!),
        platform: 'v2',
        lane: 'call',
        heartbeatTimeoutMs: 2_000,
        ids: [open[1]],
        models: ['other'],
        deadlineInMs: expect.any(Number),
      },
    ])
  })

  test('names a dead process whose direct call is still running, and a flight whose messages are unsent', async () => {
    const at = await place()
    const gone = await servingStore(at, 'api-1', { mirror: true })
    const [direct] = flightIds(1)
    await gone.begin({ ...newPrediction(direct!), queue: 'critical', platform: 'v2' }, 'api-1')
    const [told] = await admitted(gone)
    await gone.transition(told!, 'succeeded', { outputs: '1' }, await taken(gone, told!))
    await gone.leaveProcess('api-1')
    const { flights, processes } = await (await storeAt(at, { mirror: true })).leftOpen()
    expect(processes).toEqual(['api-1'])
    expect(flights.map(({ ids }) => ids)).toEqual([[told]])
  })
})
