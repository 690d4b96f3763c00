/** Who lives and who is dead: proof of life, its loss, and the watchdog, with real processes that are really killed. */
import { expect, onTestFinished, test, vi } from 'vitest'
import {
  admitted,
  describeStores,
  limits,
  servingStore,
  sqliteStores,
  storeAt,
  storeProcess,
  taken,
} from './support/stores.ts'

describeStores('process life', (kind) => {
  test('states go one way: new, open, closing, dead', async () => {
    const store = await storeAt(await kind.place())
    expect(await store.observeProcess('p')).toBe('unknown')
    await store.registerProcess('p', 'api')
    await store.registerProcess('p', 'api')
    expect(await store.observeProcess('p')).toBe('new')
    expect(await store.openProcess('p')).toBe(true)
    expect(await store.openProcess('p')).toBe(true)
    expect(await store.observeProcess('p')).toBe('open')
    await store.closeProcess('p')
    expect(await store.observeProcess('p')).toBe('closing')
    expect(await store.openProcess('p')).toBe(false)
    await store.leaveProcess('p')
    await store.closeProcess('p')
    expect(await store.observeProcess('p')).toBe('dead')
    await expect(store.registerProcess('p', 'api')).rejects.toMatchObject({ code: 'conflict' })
    expect(await store.openProcess('unheard-of')).toBe(false)
  })

  test('two stores of one process see each other alive, and dead after an orderly exit', async () => {
    const place = await kind.place()
    const one = await servingStore(place, 'one')
    const two = await servingStore(place, 'two')
    for (let look = 0; look < 3; look++) {
      expect(await one.observeProcess('two')).toBe('open')
      expect(await two.observeProcess('one')).toBe('open')
      expect(await two.observeProcess('two')).toBe('open')
    }
    await one.leaveProcess('one')
    expect(await two.observeProcess('one')).toBe('dead')
    expect(await one.observeProcess('two')).toBe('open')
  })

  test('a process killed with -9 is dead for all who look, and what it held is free', async () => {
    const place = await kind.place()
    const store = await servingStore(place)
    const worker = await storeProcess(place)
    await worker.store.registerProcess('worker-1', 'worker')
    await worker.store.openProcess('worker-1')
    const [id] = await admitted(store)
    expect(await worker.store.take(id!, 'worker-1', limits)).toMatchObject({ outcome: 'taken' })
    expect(await store.observeProcess('worker-1')).toBe('open')
    expect(await store.take(id!, 'api-1', limits)).toMatchObject({ outcome: 'held' })

    await worker.kill()
    const others = [store, await storeAt(place), (await storeProcess(place)).store]
    await vi.waitFor(
      async () => {
        const seen = await Promise.all(others.map((other) => other.observeProcess('worker-1')))
        expect(seen).toEqual(['dead', 'dead', 'dead'])
      },
      { timeout: 30_000, interval: kind.observeEveryMs },
    )
    await taken(store, id!)
  })

  test('a frozen main loop ends the process', async () => {
    const place = await kind.place()
    const store = await storeAt(place)
    const api = await storeProcess(place, { watchdog: { tickMs: 50, stallTicks: 10 } })
    await api.store.registerProcess('api-2', 'api')
    await api.store.openProcess('api-2')
    api.stall()
    expect(await api.ended).toBe('SIGKILL')
    await vi.waitFor(async () => expect(await store.observeProcess('api-2')).toBe('dead'), {
      timeout: 30_000,
      interval: kind.observeEveryMs,
    })
  })
})

test('a frozen process is alive on one machine, and goes on after the thaw', async () => {
  const place = await sqliteStores.place()
  const store = await servingStore(place)
  // The thread would kill after 0.2 s of its own ticks: frozen, it has none.
  const worker = await storeProcess(place, { watchdog: { tickMs: 50, stallTicks: 4 } })
  await worker.store.registerProcess('worker-1', 'worker')
  await worker.store.openProcess('worker-1')
  const [id] = await admitted(store)
  const token = await taken(worker.store, id!, 'worker-1')
  worker.signal('SIGSTOP')
  onTestFinished(() => worker.signal('SIGCONT'))
  const until = performance.now() + 1_500
  while (performance.now() < until) expect(await store.observeProcess('worker-1')).toBe('open')
  worker.signal('SIGCONT')
  expect(await worker.store.transition(id!, 'succeeded', {}, token)).toMatchObject({ changed: true })
  expect(await store.observeProcess('worker-1')).toBe('open')
})

test('a process id that leads out of its folder is refused', async () => {
  const store = await storeAt(await sqliteStores.place())
  for (const id of ['../x', '', '.hidden', 'a/b', 'x'.repeat(101)]) {
    await expect(store.registerProcess(id, 'api')).rejects.toMatchObject({ code: 'invalid_input' })
  }
})
