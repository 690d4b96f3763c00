/** Held calls and terminal waiters: who is told that a record has ended, and how soon. */
import { expect, onTestFinished, test, vi } from 'vitest'
import { storeUnavailable } from '../records/group.ts'
import { makeHeldCalls } from '../records/held-calls.ts'
import { untilStored } from '../records/store.ts'
import { makeTerminalWaiter } from '../records/terminal-waiter.ts'
import { admitted, servingStore, sqliteStores, taken } from './support/stores.ts'

test('a cancel aborts the call of that prediction only, and one query serves all calls', async () => {
  const store = await servingStore(await sqliteStores.place())
  const notHeld = vi.spyOn(store, 'notHeld')
  const calls = makeHeldCalls(store, 'api-1', { pollMs: 20 })
  onTestFinished(() => calls.close())
  const ids = await admitted(store, 50)
  const held = ids.map((id) => calls.hold(id))
  await store.cancel(ids[7]!)
  await vi.waitFor(() => expect(held[7]!.signal.aborted).toBe(true), 10_000)
  expect(held.filter(({ signal }) => signal.aborted)).toHaveLength(1)
  expect(held[7]!.signal.reason).toMatchObject({ code: 'prediction_canceled' })
  expect(notHeld.mock.calls.every(([asked]) => asked.length === 50)).toBe(true)
})

test('a call of this process can be joined until it is done', async () => {
  const store = await servingStore(await sqliteStores.place())
  const calls = makeHeldCalls(store, 'api-1')
  onTestFinished(() => calls.close())
  expect(calls.joined('a')).toBeUndefined()
  const call = calls.hold('a')
  expect(calls.ids()).toEqual(['a'])
  const joined = calls.joined('a')
  let ended = false
  void joined?.then(() => {
    ended = true
  })
  await Promise.resolve()
  expect(ended).toBe(false)
  call.done()
  await joined
  expect(calls.joined('a')).toBeUndefined()
  expect(calls.ids()).toEqual([])
})

test('polls go on after the store was away', async () => {
  const store = await servingStore(await sqliteStores.place())
  const [id] = await admitted(store)
  let away = true
  const whenThere = <A extends unknown[], R>(ask: (...args: A) => Promise<R>) => {
    return async (...args: A) => {
      if (away) throw storeUnavailable()
      return ask(...args)
    }
  }
  const flaky = {
    ...store,
    terminalAmong: whenThere(store.terminalAmong),
    notHeld: whenThere(store.notHeld),
  }
  const calls = makeHeldCalls(flaky, 'api-1', { pollMs: 5 })
  const waiter = makeTerminalWaiter(flaky)
  onTestFinished(() => calls.close())
  onTestFinished(() => waiter.close())
  const held = calls.hold(id!)
  const waiting = waiter.waitFor(id!, 30_000)
  await store.cancel(id!)
  away = false
  expect(await waiting).toBe('canceled')
  await vi.waitFor(() => expect(held.signal.aborted).toBe(true), 10_000)
})

test('a waiter learns the terminal status, or nothing after its time, its abort or the close', async () => {
  const store = await servingStore(await sqliteStores.place())
  const waiter = makeTerminalWaiter(store)
  const ids = await admitted(store, 4)
  const waiting = waiter.waitFor(ids[0]!, 30_000)
  await store.transition(ids[0]!, 'succeeded', {}, await taken(store, ids[0]!))
  expect(await waiting).toBe('succeeded')
  expect(await waiter.waitFor(ids[1]!, 30)).toBeUndefined()
  const leaving = new AbortController()
  const left = waiter.waitFor(ids[2]!, 30_000, leaving.signal)
  leaving.abort()
  expect(await left).toBeUndefined()
  expect(await waiter.waitFor(ids[2]!, 30_000, leaving.signal)).toBeUndefined()
  const last = waiter.waitFor(ids[3]!, 30_000)
  waiter.close()
  expect(await last).toBeUndefined()
})

test('many waiters share one query', async () => {
  const store = await servingStore(await sqliteStores.place())
  const terminalAmong = vi.spyOn(store, 'terminalAmong')
  const waiter = makeTerminalWaiter(store)
  onTestFinished(() => waiter.close())
  const ids = await admitted(store, 300)
  const waiting = ids.map((id) => waiter.waitFor(id, 30_000))
  await Promise.all(ids.map((id) => store.cancel(id)))
  expect(new Set(await Promise.all(waiting))).toEqual(new Set(['canceled']))
  expect(terminalAmong.mock.calls.length).toBeLessThan(20)
})

test('untilStored repeats while the store is away and passes any other error', async () => {
  let tries = 0
  const stored = await untilStored(async () => {
    if (++tries < 3) throw storeUnavailable()
    return 'stored'
  })
  expect([stored, tries]).toEqual(['stored', 3])
  await expect(untilStored(() => Promise.reject(new Error('wrong')))).rejects.toThrow('wrong')
})
