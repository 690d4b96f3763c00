/** The store's contract, one call at a time: what each method promises, on every kind of store. */
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

  test('discard fails what nobody took, frees its keys, names the rest, and may be repeated', async () => {
    const store = await servingStore(await kind.place())
    const ids = flightIds(3)
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
      expect((await store.discard([...ids, unknown])).sort()).toEqual([ids[1], ids[2]].sort())
    }
    expect(await store.get(ids[0]!)).toMatchObject({
      status: 'failed',
      errorInfo: 'task queue failed',
      errorCode: 'task_queue_failed',
    })
    const [again] = flightIds(1)
    expect(
      await store.admit(admissionOf([again!], { items: [newPrediction(again!, { idempotency })] })),
    ).toMatchObject({ items: [{ outcome: 'accepted' }] })
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

describeStores('take', (kind) => {
  test('a taken prediction runs, with its inputs digit for digit, and nobody else may take it', async () => {
    const store = await servingStore(await kind.place())
    await store.registerProcess('worker-1', 'worker')
    const ids = flightIds(1)
    const inputs = '{"n":12345678901234567890,"f":0.1000,"e":1E5,"s":"\\u00e9 ü \\ud83d\\ude00"}'
    await store.admit(admissionOf(ids, { items: [newPrediction(ids[0]!, { inputs })] }))
    expect(await store.take(ids[0]!, 'worker-1', limits)).toEqual({
      outcome: 'taken',
      token: 1,
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
    await taken(store, id!, 'worker-1')
    await store.leaveProcess('worker-1')
    expect(await store.take(id!, 'api-1', limits)).toMatchObject({ outcome: 'taken', token: 2 })
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

  test('a retry time that has come gives the prediction out again, with its failures and what is left of the budget', async () => {
    const store = await servingStore(await kind.place())
    const [id] = await admitted(store)
    await store.release(id!, await taken(store, id!), 0, 'platform_busy')
    const { startedAt } = (await store.get(id!))!
    const answer = await vi.waitFor(async () => {
      const again = await store.take(id!, 'api-1', limits)
      if (again.outcome !== 'taken') throw new Error(again.outcome)
      return again
    })
    expect(answer).toMatchObject({ failures: 1 })
    expect(answer.remainingMs).toBeLessThanOrEqual(limits.taskTimeoutMs)
    expect((await store.get(id!))?.startedAt).toBe(startedAt)
  })

  test('out of budget a prediction is given out only to be failed, and its former call cannot fail it', async () => {
    const store = await servingStore(await kind.place())
    const [id] = await admitted(store)
    const former = await taken(store, id!)
    await store.release(id!, former, 0, 'platform_busy')
    const answer = await vi.waitFor(async () => {
      const late = await store.take(id!, 'api-1', { taskTimeoutMs: 1, maxAttempts: 12 })
      if (late.outcome !== 'timed_out') throw new Error(late.outcome)
      return late
    })
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
    expect(await store.take(id!, 'api-1', two, true)).toEqual({ outcome: 'exhausted', token: 3 })
    expect(await store.get(id!)).toMatchObject({ attempts: 2, status: 'running' })
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
    expect(await store.deletePending('critical', 'odd')).toEqual({ deleted: 2, pending: 3 })
    expect(await store.deletePending('critical')).toEqual({ deleted: 1, pending: 1 })
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

  test('waiting flights are named longest waiting first, up to the limit', async () => {
    const store = await servingStore(await kind.place())
    const flights = []
    for (let n = 0; n < 3; n++) flights.push(await admitted(store, 2))
    await taken(store, flights[0]![0]!)
    await taken(store, flights[1]![0]!)
    await taken(store, flights[1]![1]!)
    const prefixes = [flights[0]!, flights[2]!].map(([id]) => id!.slice(0, 18))
    expect(await store.waitingFlights('critical', 10)).toEqual(prefixes)
    expect(await store.waitingFlights('critical', 1)).toEqual(prefixes.slice(0, 1))
    expect(await store.waitingFlights('other', 10)).toEqual([])
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
  test('its direct calls end failed; its flights without an acknowledged start are named until marked', async () => {
    const store = await servingStore(await kind.place())
    const direct = flightIds(2)
    for (const id of direct) await store.begin(sync(id), 'api-1')
    await store.transition(direct[1]!, 'succeeded', {})
    const first = await admitted(store, 2)
    const second = await admitted(store, 2, { started: [first[0]!.slice(0, 18)] })
    await store.cancel(second[0]!)

    await expect(store.settle('api-1', 'interrupted')).rejects.toMatchObject({ code: 'conflict' })
    await store.leaveProcess('api-1')
    const report = {
      interrupted: 1,
      flights: [
        {
          prefix: second[0]!.slice(0, 18),
          platform: 'v2',
          lane: 'call',
          heartbeatTimeoutMs: 2000,
          ids: [second[1]],
          models: ['iris'],
        },
      ],
    }
    expect(await store.settle('api-1', 'interrupted')).toEqual(report)
    expect(await store.get(direct[0]!)).toMatchObject({
      status: 'failed',
      errorInfo: 'interrupted',
      errorCode: 'interrupted',
    })
    expect(await store.get(direct[1]!)).toMatchObject({ status: 'succeeded' })
    expect(await store.settle('api-1', 'interrupted')).toEqual({ ...report, interrupted: 0 })
    await store.markStarted([second[0]!.slice(0, 18)])
    expect(await store.settle('api-1', 'interrupted')).toEqual({ interrupted: 0, flights: [] })
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
    expect(await store.expire(new Date(Date.now() - 60_000))).toBe(0)
    expect(await store.expire(new Date(Date.now() + 60_000))).toBe(1197)
    const left = (await store.list({ limit: 10 })).items.map((item) => item.id)
    expect(left).toEqual([ids.at(-1), ids[1], ids[0]])
    expect(await store.inputsOf(ids[5]!)).toBeUndefined()
  })
})
