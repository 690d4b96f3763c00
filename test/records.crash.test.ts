/** Processes killed at and between writes, several writers at once, and a store that is away: all or nothing. */
import { setTimeout as delay } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import type { Store } from '../records/store.ts'
import type { StoreCall } from './support/store-places.ts'
import {
  admissionOf,
  admitted,
  describeStores,
  flightIds,
  limits,
  newPrediction,
  servingStore,
  storeAt,
  storeProcess,
  taken,
} from './support/stores.ts'

/** Nothing is half done: a flight is there as a whole with its inputs, and statuses fit their other fields. */
async function sound(store: Store, flights: readonly string[][]): Promise<void> {
  for (const ids of flights) {
    const records = await Promise.all(ids.map((id) => store.get(id)))
    expect(new Set(records.map((record) => record === undefined)).size).toBe(1)
    for (const record of records) {
      if (record === undefined) continue
      expect(await store.inputsOf(record.id)).toBe('{"x":[1]}')
      expect(record.endedAt !== null).toBe(['succeeded', 'failed', 'canceled'].includes(record.status))
      expect(record.outputs).toBe(record.status === 'succeeded' ? '{"y":2}' : 'null')
      expect(record.startedAt !== null).toBe(record.attempts > 0)
    }
  }
}

describeStores('killed with -9', (kind) => {
  const kills = ['at the moment', 'right after the answer'] as const
  for (const [n, when] of kills.entries()) {
    test(`${when} of admit, take, release and transition: nothing half done, nothing answered lost`, async () => {
      const place = await kind.place()
      const store = await servingStore(place)
      // Twice each: what the first crash left must not matter to the second.
      for (const round of [1, 2]) {
        const known = await admitted(store, 4)
        const flights = [known]
        const before = await Promise.all(known.map((id) => store.get(id)))
        const running = await taken(store, known[1]!)
        const released = await taken(store, known[2]!)
        const fresh = flightIds(3)
        flights.push(fresh)
        const calls: StoreCall[] = [
          ['admit', admissionOf(fresh)],
          ['take', known[0]!, 'api-1', limits],
          ['transition', known[1]!, 'succeeded', { outputs: '{"y":2}' }, running],
          ['release', known[2]!, released, 0, 'platform_busy'],
          ['cancel', known[3]!],
        ]
        for (const call of calls) {
          const child = await storeProcess(place)
          const answers = await child.runAndDie([call], n)
          expect(await child.ended, `round ${round}`).toBe('SIGKILL')
          if (n === 1) expect(answers).toBe(1)
          await sound(store, flights)
          if (n === 0) continue
          const [method, target] = call
          if (method === 'admit') expect(await store.get(fresh[0]!)).toBeDefined()
          if (method === 'take') expect(await store.get(String(target))).toMatchObject({ attempts: 1 })
          if (method === 'transition')
            expect(await store.get(String(target))).toMatchObject({ status: 'succeeded' })
          if (method === 'cancel')
            expect(await store.get(String(target))).toMatchObject({ status: 'canceled' })
        }
        expect(before.every((record) => record?.status === 'pending')).toBe(true)
      }
    })
  }

  test('in the middle of many grouped writes: every answered write is there, every flight whole', async () => {
    const place = await kind.place()
    const store = await servingStore(place)
    for (let round = 0; round < 4; round++) {
      const known = await admitted(store, 200)
      const tokens = await Promise.all(known.map((id) => taken(store, id)))
      const fresh = Array.from({ length: 40 }, () => flightIds(5))
      const calls: StoreCall[] = [
        ...known.map(
          (id, n): StoreCall => ['transition', id, 'succeeded', { outputs: '{"y":2}' }, tokens[n]],
        ),
        ...fresh.map((ids): StoreCall => ['admit', admissionOf(ids, { maxQueueSize: 100_000 })]),
      ]
      const child = await storeProcess(place)
      const dying = child.runAndDie(calls, Number.MAX_SAFE_INTEGER)
      await delay(round * 4)
      await child.kill()
      const answered = await dying
      await sound(store, [known, ...fresh])
      const done = await store.terminalAmong(known)
      const there = await Promise.all(fresh.map((ids) => store.get(ids[0]!)))
      expect(done.size + there.filter((record) => record !== undefined).length).toBeGreaterThanOrEqual(
        answered,
      )
    }
  })
})

describeStores('several processes at once', (kind) => {
  test('K free places and 100 parallel submits give exactly K accepted', async () => {
    const place = await kind.place()
    const store = await servingStore(place, 'api-0')
    const places = 37
    const apis = await Promise.all(
      [1, 2, 3, 4].map(async (n) => {
        const api = await storeProcess(place)
        await api.store.registerProcess(`api-${n}`, 'api')
        await api.store.openProcess(`api-${n}`)
        return { store: api.store, processId: `api-${n}` }
      }),
    )
    const answers = await Promise.all(
      apis.flatMap((api) =>
        Array.from({ length: 25 }, async () => {
          const [id] = flightIds(1)
          const { processId } = api
          const answer = await api.store.admit(admissionOf([id!], { processId, maxQueueSize: places }))
          return answer.outcome === 'admitted' ? answer.items[0]! : answer
        }),
      ),
    )
    const accepted = answers.filter((answer) => answer.outcome === 'accepted')
    expect(accepted).toHaveLength(places)
    expect(answers.filter((answer) => answer.outcome === 'full')).toHaveLength(100 - places)
    const numbers = accepted.map((answer) => ('queueNum' in answer ? answer.queueNum : -1))
    expect(numbers.sort((a, b) => a - b)).toEqual(Array.from({ length: places }, (_, n) => n))
    expect(await store.count('critical')).toEqual({ waiting: places, running: 0 })
  })

  test('one key posted 100 times in parallel makes one prediction', async () => {
    const place = await kind.place()
    const store = await servingStore(place)
    const other = await servingStore(place, 'api-2')
    const idempotency = { key: 'once', fingerprint: 'f' }
    const answers = await Promise.all(
      Array.from({ length: 100 }, async (_, n) => {
        const [id] = flightIds(1)
        const at = n % 2 === 0 ? { store, processId: 'api-1' } : { store: other, processId: 'api-2' }
        const items = [newPrediction(id!, { idempotency })]
        const answer = await at.store.admit(admissionOf([id!], { processId: at.processId, items }))
        return answer.outcome === 'admitted' ? answer.items[0]! : answer
      }),
    )
    expect(answers.filter((answer) => answer.outcome === 'accepted')).toHaveLength(1)
    expect(answers.filter((answer) => answer.outcome === 'earlier')).toHaveLength(99)
    expect(await store.count('critical')).toEqual({ waiting: 1, running: 0 })
  })

  test('of many takers exactly one gets a prediction', async () => {
    const place = await kind.place()
    const store = await servingStore(place)
    const ids = await admitted(store, 50)
    const workers = await Promise.all(
      [1, 2, 3].map(async (n) => {
        const worker = await storeProcess(place)
        await worker.store.registerProcess(`worker-${n}`, 'worker')
        return { store: worker.store, processId: `worker-${n}` }
      }),
    )
    const answers = await Promise.all(
      workers.flatMap((worker) => ids.map((id) => worker.store.take(id, worker.processId, limits))),
    )
    const outcomes = answers.map(({ outcome }) => outcome)
    expect(outcomes.filter((outcome) => outcome === 'taken')).toHaveLength(50)
    expect(outcomes.filter((outcome) => outcome === 'held')).toHaveLength(100)
  })
})

describeStores('the store away', (kind) => {
  test('writes wait for it, reads go on, and afterwards all is written once', async () => {
    const place = await kind.place()
    const store = await servingStore(place, 'api-1', { writeDeadlineMs: 30_000 })
    const ids = await admitted(store, 200)
    const tokens = await Promise.all(ids.map((id) => taken(store, id)))
    const unblock = await kind.block(place)
    onTestFinished(unblock)
    const writes = Promise.all(
      ids.map((id, n) => store.transition(id, 'succeeded', { outputs: '{"y":2}' }, tokens[n])),
    )
    const ticks: number[] = []
    for (let n = 0; n < 20; n++) {
      const before = performance.now()
      await delay(50)
      ticks.push(performance.now() - before)
      expect(await store.get(ids[0]!)).toMatchObject({ status: 'running' })
    }
    await unblock()
    expect((await writes).every(({ changed }) => changed)).toBe(true)
    // Waiting is asynchronous: the median turn of the event loop was not held up by it.
    expect(ticks.sort((a, b) => a - b)[10]).toBeLessThan(500)
  })

  test('at the deadline a write fails as unavailable and has written nothing', async () => {
    const place = await kind.place()
    const store = await servingStore(place, 'api-1', { writeDeadlineMs: 300 })
    const [known] = await admitted(store)
    const fresh = flightIds(2)
    const unblock = await kind.block(place)
    onTestFinished(unblock)
    const calls = [
      store.admit(admissionOf(fresh)),
      store.take(known!, 'api-1', limits),
      store.cancel(known!),
      store.pause('critical'),
    ]
    for (const call of await Promise.allSettled(calls)) {
      expect(call).toMatchObject({ status: 'rejected', reason: { code: 'store_unavailable' } })
    }
    await unblock()
    const after = await storeAt(place)
    expect(await after.get(fresh[0]!)).toBeUndefined()
    expect(await after.get(known!)).toMatchObject({ status: 'pending', attempts: 0 })
    expect(await store.take(known!, 'api-1', limits)).toMatchObject({ outcome: 'taken' })
  })
})
