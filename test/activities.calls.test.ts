/** Calls of one process beside the rows that it holds: what a crash of the database loses, and what becomes of it. */
import { expect, onTestFinished, test, vi } from 'vitest'
import { type CallDeps, makeSteps } from '../activities/call.ts'
import { makeDirectCalls } from '../api/direct.ts'
import { ServiceError } from '../contracts/errors.ts'
import type { CallPlatform, CallResult, ModelTarget } from '../platforms/platform.ts'
import { makeHeldCalls } from '../records/held-calls.ts'
import type { Store } from '../records/store.ts'
import { makeTerminalWaiter } from '../records/terminal-waiter.ts'
import {
  admitted,
  describeStores,
  flightIds,
  limits,
  newPrediction,
  probeAt,
  type StoreKind,
  servingStore,
  taken,
} from './support/stores.ts'

const within = { timeout: 20_000, interval: 20 }

const target: ModelTarget = {
  ...{ name: 'iris', version: '', platform: 'v2', address: 'test', upstreamName: 'iris', protocol: 'mlrun' },
  timeoutMs: limits.taskTimeoutMs,
}

/** A platform that answers when it is told to, the calls in their order. */
function scripted() {
  const calls: PromiseWithResolvers<CallResult>[] = []
  const platform: CallPlatform = {
    name: 'v2',
    lane: 'call',
    call() {
      const answer = Promise.withResolvers<CallResult>()
      calls.push(answer)
      return answer.promise
    },
    docs: async () => '""',
    close: async () => undefined,
  }
  return { calls, platform }
}

async function stage(kind: StoreKind) {
  const place = await kind.place()
  const store = await servingStore(place)
  const probe = probeAt(place)
  const { calls, platform } = scripted()
  const held = (own: Store, processId: string) => {
    const calls = makeHeldCalls(own, processId, { pollMs: 20, idleMs: 100 })
    onTestFinished(() => calls.close())
    return calls
  }
  return {
    store,
    probe,
    calls,
    platform,
    held,
    /** The steps of a worker process. */
    async worker(processId: string, own: Store = store) {
      await store.registerProcess(processId, 'worker')
      const deps: CallDeps = {
        ...{ store: own, held: held(own, processId), processId, limits },
        resolve: () => target,
        platform: () => platform,
      }
      return makeSteps(deps, 'call')
    },
    untilCalled: (times: number) => vi.waitFor(() => expect(calls).toHaveLength(times), within),
    /** What the database still has once it has lost everything that was written since the acceptance. */
    async setBack(id: string) {
      await probe.query(
        `update predictions set status = 'pending', token = 0, attempts = 0, holder = null, started_at = null where id = ?`,
        id,
      )
    },
    row: async (id: string) => {
      const [row] = await probe.query<{ holder: string | null; attempts: number; failures: number }>(
        'select holder, attempts, failures from predictions where id = ?',
        id,
      )
      return row
    },
  }
}

const result = (outputs: string): CallResult => ({ outputs, runningTime: '1s' })

describeStores('calls and the rows of their process', (kind) => {
  // PR-09
  test('a call whose take the database has lost is held again, and joined when it is delivered once more', async () => {
    const { worker, store, calls, untilCalled, setBack, row } = await stage(kind)
    const steps = await worker('worker-1')
    const [id] = await admitted(store)
    const first = steps.call(id!)
    await untilCalled(1)
    await setBack(id!)
    const second = await steps.call(id!)
    expect(second).toMatchObject({ kind: 'elsewhere', until: expect.any(Promise) })
    await vi.waitFor(
      async () => expect(await row(id!)).toMatchObject({ holder: 'worker-1', attempts: 1 }),
      within,
    )
    expect(await store.get(id!)).toMatchObject({ status: 'running', startedAt: expect.any(String) })
    expect(await store.take(id!, 'api-1', limits)).toMatchObject({ outcome: 'held', holder: 'worker-1' })
    calls[0]!.reject(new ServiceError('platform_rejected', 'no such feature'))
    expect(await first).toEqual({ kind: 'ended', status: 'failed' })
    expect(await steps.call(id!)).toEqual({ kind: 'ended', status: 'failed' })
    expect(calls).toHaveLength(1)
  })

  // PR-09
  test('a call whose prediction another process has taken after such a loss goes on, and can only succeed', async () => {
    const { worker, store, calls, untilCalled, setBack, row } = await stage(kind)
    const taken = Promise.withResolvers<void>()
    let looks = 0
    const late: Store = {
      ...store,
      async notHeld(ids) {
        await taken.promise
        looks++
        return store.notHeld(ids)
      },
    }
    const one = await worker('worker-1', late)
    const other = await worker('worker-2')
    const ids = await admitted(store, 2)
    const former = ids.map((id) => one.call(id))
    await untilCalled(2)
    for (const id of ids) await setBack(id)
    const later = ids.map((id) => other.call(id))
    await untilCalled(4)
    taken.resolve()
    await vi.waitFor(() => expect(looks).toBeGreaterThan(2), within)
    for (const id of ids) expect(await row(id)).toMatchObject({ holder: 'worker-2' })
    calls[0]!.reject(new ServiceError('platform_rejected', 'no such feature'))
    calls[1]!.resolve(result('"former"'))
    expect(await Promise.all(former)).toEqual([{ kind: 'again' }, { kind: 'ended', status: 'succeeded' }])
    expect(await store.get(ids[0]!)).toMatchObject({ status: 'running' })
    for (const call of calls.slice(2)) call.resolve(result('"later"'))
    await Promise.all(later)
    const records = await Promise.all(ids.map((id) => store.get(id)))
    expect(records.map((record) => record?.outputs)).toEqual(['"later"', '"former"'])
  })

  // PR-10
  test('what a process holds without a call is free for others within five seconds, and no attempt is counted', async () => {
    const { worker, store, calls, probe, untilCalled, row } = await stage(kind)
    const steps = await worker('worker-1')
    const [id] = await admitted(store)
    const first = steps.call(id!)
    await untilCalled(1)
    const before = await row(id!)
    calls[0]!.reject(new ServiceError('platform_busy', 'busy'))
    expect(await first).toMatchObject({ kind: 'wait', open: { why: 'retry' } })
    await probe.query(
      `update predictions set holder = 'worker-1', retry_at = null, retry_code = '', failures = 0 where id = ?`,
      id!,
    )
    await vi.waitFor(async () => expect(await row(id!)).toEqual({ ...before, holder: null }), within)
    await store.registerProcess('worker-2', 'worker')
    await taken(store, id!, 'worker-2')
  })

  // PR-10
  test('a prediction whose take is answered late is not given up', async () => {
    const { worker, store, calls, untilCalled, row } = await stage(kind)
    const looked = vi.spyOn(store, 'heldBy')
    const answered = Promise.withResolvers<void>()
    const slow: Store = {
      ...store,
      async take(...args) {
        const answer = await store.take(...args)
        await answered.promise
        return answer
      },
    }
    const steps = await worker('worker-1', slow)
    const [id] = await admitted(store)
    const step = steps.call(id!)
    await vi.waitFor(async () => expect(await row(id!)).toMatchObject({ holder: 'worker-1' }), within)
    const looks = looked.mock.calls.length
    await vi.waitFor(() => expect(looked.mock.calls.length).toBeGreaterThan(looks + 2), within)
    expect(await row(id!)).toMatchObject({ holder: 'worker-1', attempts: 1 })
    answered.resolve()
    await untilCalled(1)
    calls[0]!.resolve(result('1'))
    expect(await step).toEqual({ kind: 'ended', status: 'succeeded' })
  })

  // PR-10
  test('a direct call that its process has lost ends interrupted; one that is just beginning goes on', async () => {
    const { store, held, calls, platform, untilCalled } = await stage(kind)
    const looked = vi.spyOn(store, 'heldBy')
    const answered = Promise.withResolvers<void>()
    const slow: Store = {
      ...store,
      async begin(...args) {
        const begun = await store.begin(...args)
        await answered.promise
        return begun
      },
    }
    const waiter = makeTerminalWaiter(store)
    onTestFinished(() => waiter.close())
    const direct = makeDirectCalls({
      ...{ store: slow, held: held(store, 'api-1'), waiter, processId: 'api-1', queue: 'critical' },
      doubts: { begun: (_, settled) => settled() },
      taskTimeoutMs: limits.taskTimeoutMs,
      platform: () => platform,
      onDead: () => undefined,
    })
    const [lost = ''] = flightIds(1)
    await store.begin({ ...newPrediction(lost), queue: 'critical', platform: 'v2' }, 'api-1')
    const predicted = direct.predict({ target, inputs: '{}', uid: '' })
    await vi.waitFor(async () => {
      expect(await store.get(lost)).toMatchObject({ status: 'failed', errorCode: 'interrupted' })
    }, within)
    const looks = looked.mock.calls.length
    await vi.waitFor(() => expect(looked.mock.calls.length).toBeGreaterThan(looks + 2), within)
    answered.resolve()
    await untilCalled(1)
    calls[0]!.resolve(result('1'))
    expect(await predicted).toMatchObject({ status: 'succeeded', outputs: '1' })
  })
})
