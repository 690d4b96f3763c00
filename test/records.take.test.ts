/** Who may call for a prediction: take and release, with budgets, attempts and tokens. */
import { expect, test, vi } from 'vitest'
import {
  admissionOf,
  admitted,
  describeStores,
  flightIds,
  limits,
  newPrediction,
  probeAt,
  servingStore,
  taken,
} from './support/stores.ts'

const soon = { timeout: 30_000, interval: 20 }

describeStores('take', (kind) => {
  test('a taken prediction runs, with its inputs digit for digit, and nobody else may take it', async () => {
    const store = await servingStore(await kind.place())
    await store.registerProcess('worker-1', 'worker')
    const ids = flightIds(1)
    const inputs = '{"n":12345678901234567890,"f":0.1000,"e":1E5,"s":"\\u00e9 ü \\ud83d\\ude00"}'
    await store.admit(admissionOf(ids, { items: [newPrediction(ids[0]!, { inputs })] }))
    expect(await store.take(ids[0]!, 'worker-1', limits)).toMatchObject({
      outcome: 'taken',
      token: expect.any(Number),
      failures: 0,
      remainingMs: limits.taskTimeoutMs,
      modelName: 'iris',
      modelVersion: '',
      inputs,
    })
    expect(await store.get(ids[0]!)).toMatchObject({ status: 'running', attempts: 1 })
    expect(await store.take(ids[0]!, 'api-1', limits)).toMatchObject({
      outcome: 'held',
      holder: 'worker-1',
    })
    expect(await store.take(ids[0]!, 'worker-1', limits)).toMatchObject({
      outcome: 'held',
      holder: 'worker-1',
    })
    expect(await store.inputsOf(ids[0]!)).toBe(inputs)
  })

  test('the holder may take again after a lost answer; its old token is worth nothing then', async () => {
    const store = await servingStore(await kind.place())
    const [id] = await admitted(store)
    const old = await taken(store, id!)
    const again = await store.take(id!, 'api-1', limits, true)
    expect(again).toMatchObject({ outcome: 'taken' })
    expect(await store.release(id!, old, 0, 'platform_busy')).toBe(false)
    expect(await store.transition(id!, 'failed', {}, old)).toEqual({ changed: false, status: 'running' })
    expect(await store.get(id!)).toMatchObject({ attempts: 2 })
  })

  test('a prediction in the hands of a dead process is free for others', async () => {
    const store = await servingStore(await kind.place())
    await store.registerProcess('worker-1', 'worker')
    const [id] = await admitted(store)
    const former = await taken(store, id!, 'worker-1')
    await store.leaveProcess('worker-1')
    expect(await taken(store, id!)).toBeGreaterThan(former)
  })

  test('a dead or unregistered process takes nothing', async () => {
    const store = await servingStore(await kind.place())
    const [id] = await admitted(store)
    await store.registerProcess('worker-1', 'worker')
    await store.leaveProcess('worker-1')
    for (const process of ['worker-1', 'worker-2']) {
      await expect(store.take(id!, process, limits)).rejects.toMatchObject({ code: 'draining' })
    }
    expect(await store.get(id!)).toMatchObject({ status: 'pending' })
  })

  test('a released prediction keeps running, waits for its retry time and counts the failure', async () => {
    const store = await servingStore(await kind.place())
    const [id] = await admitted(store)
    const token = await taken(store, id!)
    expect(await store.release(id!, token, 60_000, 'platform_busy')).toBe(true)
    expect(await store.release(id!, token, 60_000, 'platform_busy')).toBe(false)
    expect(await store.get(id!)).toMatchObject({ status: 'running' })
    const answer = await store.take(id!, 'api-1', { ...limits, taskTimeoutMs: 600_000 })
    expect(answer).toEqual({ outcome: 'waiting', retryInMs: expect.any(Number), code: 'platform_busy' })
    expect(answer.outcome === 'waiting' && answer.retryInMs).toBeGreaterThan(0)
  })

  // PR-18
  test('a clock that is set back lengthens no wait for a retry', async () => {
    const place = await kind.place()
    const store = await servingStore(place)
    const [id] = await admitted(store)
    await store.release(id!, await taken(store, id!), 60_000, 'platform_busy')
    // As far as the row can tell, it is an hour earlier now.
    await probeAt(place).query(
      'update predictions set released_at = released_at + 3600000, retry_at = retry_at + 3600000',
    )
    expect(await store.take(id!, 'api-1', limits)).toMatchObject({ outcome: 'taken', failures: 1 })
  })

  test('a budget is no longer than it was given, also where the clock was set back', async () => {
    const place = await kind.place()
    const store = await servingStore(place)
    const [id] = await admitted(store)
    await store.release(id!, await taken(store, id!), 0, 'platform_busy')
    await probeAt(place).query('update predictions set started_at = started_at + 3600000')
    const again = await store.take(id!, 'api-1', limits)
    expect(again).toMatchObject({ outcome: 'taken', remainingMs: limits.taskTimeoutMs, spentMs: 0 })
  })

  test('a retry time that has come gives the prediction out again, with its failures and what is left of the budget', async () => {
    const store = await servingStore(await kind.place())
    const [id] = await admitted(store)
    await store.release(id!, await taken(store, id!), 0, 'platform_busy')
    const { startedAt } = (await store.get(id!))!
    const answer = await vi.waitFor(async () => {
      const again = await store.take(id!, 'api-1', limits)
      if (again.outcome !== 'taken') throw new Error(again.outcome)
      return again
    }, soon)
    expect(answer).toMatchObject({ failures: 1 })
    expect(answer.remainingMs).toBeLessThanOrEqual(limits.taskTimeoutMs)
    expect((await store.get(id!))?.startedAt).toBe(startedAt)
  })

  test('out of budget a prediction is given out only to be failed, and its former call cannot fail it', async () => {
    const store = await servingStore(await kind.place())
    const [id] = await admitted(store)
    const former = await taken(store, id!)
    await store.release(id!, former, 0, 'platform_busy')
    // A budget that is over as soon as it has begun: with any other, a quick second take would be given the prediction.
    const answer = await store.take(id!, 'api-1', { taskTimeoutMs: 0, maxAttempts: 12 })
    if (answer.outcome !== 'timed_out') throw new Error(answer.outcome)
    expect(await store.transition(id!, 'failed', {}, former)).toMatchObject({ changed: false })
    expect(await store.transition(id!, 'failed', { errorInfo: 'late' }, answer.token)).toEqual({
      changed: true,
      status: 'failed',
    })
  })

  test('while a live process holds it, a prediction times out for others two seconds later', async () => {
    const store = await servingStore(await kind.place())
    await store.registerProcess('worker-1', 'worker')
    const [id] = await admitted(store)
    await taken(store, id!, 'worker-1')
    const tight = { taskTimeoutMs: 1, maxAttempts: 12 }
    const soon = await store.take(id!, 'api-1', tight)
    expect(soon).toMatchObject({ outcome: 'held' })
    expect(soon.outcome === 'held' && soon.remainingMs).toBeLessThanOrEqual(2_001)
    await vi.waitFor(
      async () => expect(await store.take(id!, 'api-1', tight)).toMatchObject({ outcome: 'timed_out' }),
      { timeout: 20_000, interval: 100 },
    )
    // The call in the other hands may still succeed, as long as nobody has written the failure.
    expect(await store.transition(id!, 'succeeded', { outputs: '1' })).toMatchObject({ changed: true })
  })

  test('attempts are bounded', async () => {
    const store = await servingStore(await kind.place())
    const [id] = await admitted(store)
    const two = { ...limits, maxAttempts: 2 }
    await taken(store, id!, 'api-1', two)
    await store.take(id!, 'api-1', two, true)
    expect(await store.take(id!, 'api-1', two, true)).toMatchObject({ outcome: 'exhausted' })
    expect(await store.get(id!)).toMatchObject({ attempts: 2, status: 'running' })
  })

  test('inputs of any size come with what is taken together, each with its own', async () => {
    const store = await servingStore(await kind.place())
    const ids = flightIds(4)
    const inputs = [10, 2_000_000, 20, 300_000].map((size, n) => JSON.stringify(`${n}`.repeat(size)))
    const items = ids.map((id, n) => newPrediction(id, { inputs: inputs[n]! }))
    await store.admit(admissionOf(ids, { items }))
    const answers = await Promise.all(ids.map((id) => store.take(id, 'api-1', limits)))
    expect(answers.map((taken) => taken.outcome === 'taken' && taken.inputs === inputs.shift())).toEqual(
      Array(4).fill(true),
    )
  })

  test('a whole group is taken at once, each with its own answer', async () => {
    const store = await servingStore(await kind.place())
    const ids = await admitted(store, 4)
    const held = await taken(store, ids[0]!)
    await store.cancel(ids[1]!)
    const answers = await Promise.all([...ids, flightIds(1)[0]!].map((id) => store.take(id, 'api-1', limits)))
    expect(answers.map(({ outcome }) => outcome)).toEqual(['held', 'terminal', 'taken', 'taken', 'unknown'])
    expect(await store.transition(ids[0]!, 'failed', {}, held)).toMatchObject({ changed: true })
  })
})
