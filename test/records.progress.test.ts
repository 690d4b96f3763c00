/** What a running prediction has given so far, in the store's contract: kept, told at a pace, never after the end. */
import { setTimeout as delay } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { WebhookEvent } from '../records/store.ts'
import {
  admissionOf,
  describeStores,
  flightIds,
  newPrediction,
  servingStore,
  taken,
} from './support/stores.ts'

describeStores('progress', (kind) => {
  async function running(events: readonly WebhookEvent[]) {
    const store = await servingStore(await kind.place())
    const [id = ''] = flightIds(1)
    const webhook = { url: 'https://hooks.test/a', events, base: 'https://api.test' }
    await store.admit(admissionOf([id], { items: [newPrediction(id, { webhook })] }))
    const token = await taken(store, id)
    const told = async () => (await store.deliveries.list(id)).map(({ event }) => event)
    return { store, id, token, told }
  }

  test('output and logs are kept, shown beside outputs that are not known yet, and stay at the end', async () => {
    const { store, id, token, told } = await running(['output', 'logs', 'completed'])
    expect(await store.get(id)).toMatchObject({ outputs: 'null', partial: 'null', logs: '' })
    expect(await store.progress(id, token, { output: '["a"]', logs: 'one\n' })).toBe(true)
    expect(await store.get(id)).toMatchObject({ outputs: 'null', partial: '["a"]', logs: 'one\n' })
    await store.progress(id, token, { logs: 'one\ntwo\n' })
    await store.transition(id, 'succeeded', { outputs: '{"output":["a","b"]}' })
    expect(await store.get(id)).toMatchObject({
      outputs: '{"output":["a","b"]}',
      partial: '["a"]',
      logs: 'one\ntwo\n',
    })
    expect((await store.list({ limit: 1 })).items).toMatchObject([{ logs: 'one\ntwo\n' }])
    expect(await told()).toEqual(['output', 'logs', 'completed'])
  })

  test('each event is noted at most once per 500 ms, and not for what has not changed', async () => {
    const { store, id, token, told } = await running(['output'])
    const sinceMs = performance.now()
    let notes = 0
    let n = 0
    while (performance.now() - sinceMs < 1_300) {
      if (await store.progress(id, token, { output: `[${++n}]` })) notes++
      await delay(5)
    }
    const elapsedMs = performance.now() - sinceMs
    expect(await store.get(id)).toMatchObject({ partial: `[${n}]` })
    expect(notes).toBeGreaterThanOrEqual(2)
    expect(notes).toBeLessThanOrEqual(1 + elapsedMs / 500)
    expect(await told()).toHaveLength(notes)
    await delay(510)
    expect(await store.progress(id, token, { output: `[${n}]` })).toBe(false)
    expect(await store.progress(id, token, { output: '["new"]' })).toBe(true)
  })

  test('nothing is noted by a call that is not the current one, nor after the end', async () => {
    const { store, id, token, told } = await running(['output', 'logs'])
    expect(await store.progress(id, token - 1, { output: '1', logs: 'old' })).toBe(false)
    await store.cancel(id)
    expect(await store.progress(id, token, { output: '1', logs: 'late' })).toBe(false)
    expect(await store.get(id)).toMatchObject({ partial: 'null', logs: '' })
    expect(await told()).toEqual([])
  })
})
