/** The queue's routes over a real store. */
import { describe, expect, test } from 'vitest'
import { ServiceError } from '../contracts/errors.ts'
import { prefixOf } from '../contracts/names.ts'
import { startTestApi } from './support/api-app.ts'

describe('POST /pause', () => {
  test('pauses once; again is 403 with the inherited texts', async () => {
    const { post } = await startTestApi()
    const first = await post('/pause')
    expect(first.status).toBe(200)
    expect(await first.json()).toEqual({ info: 'queue critical paused' })
    const again = await post('/pause')
    expect(again.status).toBe(403)
    expect(await again.json()).toMatchObject({ error: 'queue "critical" is already paused' })
  })

  test('predictions are accepted while it holds', async () => {
    const { post, get } = await startTestApi()
    await post('/pause')
    expect((await post('/async/v1/predict', { model_name: 'm', inputs: {} })).status).toBe(200)
    expect(await (await get('/v1/queue_size')).json()).toEqual({ queue_size: 1 })
  })
})

describe('POST /unpause', () => {
  test('ends the pause and wakes flights; without one it is 403, and wakes them too: its own first try may be why', async () => {
    let woken = 0
    const { post } = await startTestApi({ service: { wakeQueue: () => void woken++ } })
    const none = await post('/unpause')
    expect(none.status).toBe(403)
    expect(await none.json()).toMatchObject({ error: 'queue "critical" is not paused' })
    expect(woken).toBe(1)
    await post('/pause')
    const done = await post('/unpause')
    expect(done.status).toBe(200)
    expect(await done.json()).toEqual({ info: 'Unpaused queue critical paused' })
    expect(woken).toBe(2)
  })
})

describe('POST /delete_pending', () => {
  test('every waiting record reads canceled', async () => {
    const { post, get, waiting } = await startTestApi()
    const ids = [await waiting('a'), await waiting('b')]
    const response = await post('/delete_pending')
    expect(response.status).toBe(200)
    expect(await response.json()).toEqual({ num_of_deleted_tasks: 2, num_of_pending_tasks: 2 })
    for (const id of ids) {
      expect(await (await get(`/task/${id}`)).json()).toMatchObject({ status: 'canceled' })
    }
    expect(await (await post('/delete_pending')).json()).toEqual({
      num_of_deleted_tasks: 0,
      num_of_pending_tasks: 0,
    })
  })

  // PR-23
  test('wakes the flights of what was deleted: what they owe is not to wait for the end of a pause', async () => {
    const woken: string[] = []
    const wakeFlights = (prefixes: readonly string[]) => void woken.push(...prefixes)
    const { post, waiting } = await startTestApi({ service: { wakeFlights } })
    const ids = [await waiting('a'), await waiting('b')]
    await post('/pause')
    await post('/delete_pending')
    expect(woken).toEqual(ids.map(prefixOf))
  })

  test('MODEL_NAME leaves other models alone', async () => {
    const { post, get, waiting } = await startTestApi({ settings: { modelName: 'a' } })
    const [mine, other] = [await waiting('a'), await waiting('b')]
    expect(await (await post('/delete_pending')).json()).toMatchObject({ num_of_deleted_tasks: 1 })
    expect(await (await get(`/task/${mine}`)).json()).toMatchObject({ status: 'canceled' })
    expect(await (await get(`/task/${other}`)).json()).toMatchObject({ status: 'pending' })
  })
})

describe('GET /unfinished', () => {
  test('counts waiting and running, exactly, under the inherited key', async () => {
    const { get, waiting } = await startTestApi()
    for (let n = 0; n < 40; n++) await waiting()
    expect(await (await get('/unfinished')).json()).toEqual({ 'num of unfinished tasks': 40 })
  })
})

describe('GET /v1/queue_size', () => {
  test('is 0 before first use, then the number that waits', async () => {
    const { get, waiting } = await startTestApi()
    expect(await (await get('/v1/queue_size')).json()).toEqual({ queue_size: 0 })
    await waiting()
    expect(await (await get('/v1/queue_size')).json()).toEqual({ queue_size: 1 })
  })
})

test('what cannot be known is 503, not 0', async () => {
  const api = await startTestApi()
  const away = () => Promise.reject(new ServiceError('store_unavailable', 'the store is away'))
  Object.assign(api.deps.store, { count: away, pause: away, unpause: away, deletePending: away })
  for (const path of ['/unfinished', '/v1/queue_size']) expect((await api.get(path)).status).toBe(503)
  for (const path of ['/pause', '/unpause', '/delete_pending'])
    expect((await api.post(path)).status).toBe(503)
})
