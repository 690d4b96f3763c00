/** Flights in a paused queue: they look ever more rarely, and `/unpause` wakes every one. Real Temporal, real stores. */
import { randomUUID } from 'node:crypto'
import { ApplicationFailure } from '@temporalio/activity'
import { Client, Connection } from '@temporalio/client'
import { MockActivityEnvironment } from '@temporalio/testing'
import { NativeConnection, Worker } from '@temporalio/worker'
import { expect, inject, onTestFinished, test, vi } from 'vitest'
import { makeGuardActivities } from '../activities/guard.ts'
import { makeWakeActivities } from '../activities/wake.ts'
import { pausedMs, type WakeActivities } from '../contracts/flights.ts'
import { flightIdOf, guardQueueOf, prefixOf, wakeIdOf } from '../contracts/names.ts'
import { openTemporalApi } from '../runtime/temporal/client.ts'
import { traceSinks } from '../tracing/temporal.ts'
import { workflowBundle } from '../worker/bundle.ts'
import { bundleFolder } from './support/folders.ts'
import { installRuntimeOnce, recordHistory, startInProcess } from './support/in-process.ts'
import { admitted, describeStores, servingStore } from './support/stores.ts'

const deadline = { timeout: 120_000, interval: 100 }

// PR-23
test('a paused queue is looked at after 5 s, then ever more rarely, at least every 10 minutes', () => {
  const pauses = Array.from({ length: 40 }, (_, looks) => pausedMs(looks))
  expect(pauses[0]).toBe(5_000)
  expect(pauses).toEqual(pauses.toSorted((one, other) => one - other))
  expect(pauses.filter((ms) => ms < 600_000)).toHaveLength(12)
  expect(pauses.at(-1)).toBe(600_000)
})

test('a flight finds the end of a pause by itself where nobody could wake it', async () => {
  const { lifecycle, request, store, queue } = await startInProcess()
  await store.pause(queue)
  const { id } = await lifecycle.service.submit(request(1))
  await store.unpause(queue)
  expect((await lifecycle.service.waitFor(id, 60_000))?.status).toBe('succeeded')
})

/** A worker of the guards' queue alone: flights do nothing meanwhile. */
async function waker(taskQueue: string, activities: WakeActivities): Promise<Worker> {
  installRuntimeOnce()
  const connection = await NativeConnection.connect({ address: inject('temporalAddress') })
  const worker = await Worker.create({
    connection,
    taskQueue: guardQueueOf(taskQueue),
    workflowBundle: await workflowBundle(bundleFolder),
    activities,
    sinks: traceSinks,
  })
  const running = worker.run()
  onTestFinished(async () => {
    if (worker.getState() === 'RUNNING') worker.shutdown()
    await running
    await connection.close()
  })
  return worker
}

function temporalApi(taskQueue: string) {
  const names = { namespace: 'default', taskQueue }
  const temporal = openTemporalApi({ connection: { address: inject('temporalAddress') }, ...names })
  onTestFinished(() => temporal.close())
  return temporal
}

// PR-23
test('unpause signals each of 500 flights that wait, and all of them end', async () => {
  const stage = await startInProcess({ concurrency: 64 })
  const { app, lifecycle, request, store, queue, taskQueue, client, platform } = stage
  expect((await app.request('/pause', { method: 'POST' })).status).toBe(200)
  const ids: string[] = []
  // What differs in whom it is for flies apart; not all at once, for the sake of slow machines.
  while (ids.length < 500) {
    const some = Array.from({ length: 20 }, (_, n) => request(n, { uid: `u${n}` }))
    ids.push(...(await Promise.all(some.map(lifecycle.service.submit))).map(({ id }) => id))
  }
  const flights = [...new Set(ids.map(flightIdOf))]
  expect(flights).toHaveLength(500)
  const events = async (flight: string, kind: 'timerStarted' | 'workflowExecutionSignaled') => {
    const { events } = await client.workflow.getHandle(flight).fetchHistory()
    return events?.filter((event) => event[`${kind}EventAttributes`]).length
  }
  for (const flight of flights.slice(0, 20)) {
    await vi.waitFor(async () => expect(await events(flight, 'timerStarted')).toBeGreaterThan(0), deadline)
  }
  // From here on nobody looks of its own accord: asleep or not yet begun, each is signaled once.
  await stage.workers?.stop()
  expect((await app.request('/unpause', { method: 'POST' })).status).toBe(200)
  const temporal = temporalApi(taskQueue)
  const wakes = await waker(taskQueue, {
    ...makeGuardActivities({ store, temporal }),
    ...makeWakeActivities({ store, temporal }),
  })
  await client.workflow.getHandle(wakeIdOf(queue)).result()
  for (const flight of flights) {
    expect(await events(flight, 'workflowExecutionSignaled'), flight).toBe(1)
  }
  wakes.shutdown()
  await stage.startWorker()
  for (const id of ids) {
    expect((await lifecycle.service.waitFor(id, 120_000))?.status).toBe('succeeded')
  }
  expect(platform.calls).toHaveLength(500)
  for (const flight of flights) {
    expect(await client.workflow.getHandle(flight).result()).toMatchObject({ succeeded: 1 })
  }
  await recordHistory(client, wakeIdOf(queue), 'wake')
}, 400_000)

describeStores('the wake-up of a queue', (kind) => {
  // PR-23
  test('reaches every flight, however many wait', async () => {
    const store = await servingStore(await kind.place())
    const flights: string[][] = []
    while (flights.length < 1_100) {
      const some = Array.from({ length: 50 }, () => admitted(store, 1, { maxQueueSize: 2_000 }))
      flights.push(...(await Promise.all(some)))
    }
    const woken: string[] = []
    const temporal = { wakeFlights: async (prefixes: readonly string[]) => void woken.push(...prefixes) }
    const { wakeWaiting } = makeWakeActivities({ store, temporal })
    for (let after: number | undefined = 0, pages = 0; after !== undefined; pages++) {
      expect(pages).toBeLessThan(4)
      const page: unknown = await new MockActivityEnvironment().run(wakeWaiting, 'critical', after)
      after = (page as { next?: number }).next
    }
    expect(woken.toSorted()).toEqual(flights.map(([id]) => prefixOf(id!)).toSorted())
  }, 120_000)
})

/** Three pages; before the answer to its n-th call `act` is run. */
async function wakeInThreePages(act: (call: number, ask: () => Promise<void>) => Promise<void> | void) {
  const taskQueue = `test-${randomUUID()}`
  const temporal = temporalApi(taskQueue)
  const pages: number[] = []
  await waker(taskQueue, {
    async wakeWaiting(_queue, after) {
      pages.push(after)
      await act(pages.length, () => temporal.wakeQueue(taskQueue))
      return after < 2 ? { next: after + 1 } : {}
    },
  })
  await temporal.wakeQueue(taskQueue)
  const connection = await Connection.connect({ address: inject('temporalAddress') })
  onTestFinished(() => connection.close())
  const client = new Client({ connection })
  const handle = client.workflow.getHandle(wakeIdOf(taskQueue))
  const { runId } = await handle.describe()
  await handle.result()
  expect(await handle.describe()).toMatchObject({ runId, status: { name: 'COMPLETED' } })
  return { pages, client, workflowId: handle.workflowId }
}

// PR-23
test.each([
  { call: 1, pages: [0, 0, 1, 2] },
  { call: 2, pages: [0, 1, 0, 1, 2] },
  { call: 3, pages: [0, 1, 2, 0, 1, 2] },
])(
  'asked again while page $call is under way, the wake-up begins anew: some may wait once more',
  async (given) => {
    const { pages, client, workflowId } = await wakeInThreePages(async (call, ask) => {
      if (call === given.call) await ask()
    })
    expect(pages).toEqual(given.pages)
    if (given.call === 2) await recordHistory(client, workflowId, 'wake-asked-again')
  },
)

// PR-23
test('a page that fails for good is another round of the wake-up, not its end', async () => {
  const { pages } = await wakeInThreePages((call) => {
    if (call === 2) throw ApplicationFailure.nonRetryable('staged')
  })
  expect(pages).toEqual([0, 1, 1, 2])
})
