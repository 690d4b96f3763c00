/** No failure of an activity closes what owns a record: flight, guard, delivery, retention and ownership check ask again. Real Temporal. */
import { randomUUID } from 'node:crypto'
import { ApplicationFailure } from '@temporalio/activity'
import { Client, Connection, type WorkflowHandle } from '@temporalio/client'
import { MockActivityEnvironment } from '@temporalio/testing'
import { DefaultLogger, NativeConnection, Worker } from '@temporalio/worker'
import { describe, expect, inject, onTestFinished, test, vi } from 'vitest'
import { errorCodes, ServiceError } from '../contracts/errors.ts'
import type { FlightInput, FlyInput, FlyReport } from '../contracts/flights.ts'
import { flightIdOf } from '../contracts/names.ts'
import { makeHeldCalls } from '../records/held-calls.ts'
import { openSqliteStore } from '../records/sqlite.ts'
import type { OutboxSender, Store } from '../records/store.ts'
import type { TemporalApi } from '../runtime/temporal/client.ts'
import { traceSinks } from '../tracing/temporal.ts'
import { workflowBundle } from '../worker/bundle.ts'
import { makeActivities } from '../worker/worker.ts'
import { bundleFolder } from './support/folders.ts'
import { installRuntimeOnce, recordHistory, startInProcess } from './support/in-process.ts'
import { json, type Step } from './support/scripted-server.ts'
import { secrets } from './support/webhook-stage.ts'

const deadline = { timeout: 60_000, interval: 50 }

/** What Temporal keeps of the activities that run or wait for another try. */
async function lastFailures(flight: WorkflowHandle): Promise<unknown[]> {
  const { raw } = await flight.describe()
  return (raw.pendingActivities ?? []).map((each) => each.lastFailure?.applicationFailureInfo?.type)
}

// PR-01
test('members that wait for a place when their process is declared dead are ended by another worker', async () => {
  const parts = await startInProcess({ concurrency: 2, taskTimeoutMs: 120_000 })
  const { lifecycle, platform, store, processId, dataDir, request, client } = parts
  const [first, second] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const once = (until: Promise<void>): Step => {
    const answer = json({ outputs: ['of the first worker'] })
    return (...call) => void until.then(() => answer(...call))
  }
  platform.script(once(first.promise), once(second.promise), json({ outputs: ['of another worker'] }))
  onTestFinished(() => {
    first.resolve()
    second.resolve()
  })
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, n) => lifecycle.service.submit(request(n))),
  )
  await vi.waitFor(() => expect(platform.calls).toHaveLength(2), deadline)
  const ids = new Set(answers.map(({ id }) => flightIdOf(id)))
  const flights = [...ids].map((id) => client.workflow.getHandle(id))

  await store.leaveProcess(processId)
  // The place that this answer frees goes to a member that waits.
  first.resolve()
  const failures = async () => (await Promise.all(flights.map(lastFailures))).flat()
  await vi.waitFor(async () => expect(await failures()).toContain('draining'), deadline)
  const leaving = parts.workers!.stop()

  const other = await openSqliteStore({ dataDir })
  await other.registerProcess('worker-2', 'worker')
  await other.openProcess('worker-2')
  const held = makeHeldCalls(other, 'worker-2')
  const workers = await parts.startWorker({ store: other, held, processId: 'worker-2' })
  onTestFinished(async () => {
    second.resolve()
    await Promise.all([leaving, workers.stop()])
    held.close()
    await other.close()
  })
  const records = () => Promise.all(answers.map(async ({ id }) => (await other.get(id))!))
  await vi.waitFor(async () => {
    const ended = (await records()).filter(({ outputs }) => outputs.includes('of another worker'))
    expect(ended.length).toBeGreaterThanOrEqual(18)
  }, deadline)
  second.resolve()
  for (const flight of flights) expect(await flight.result()).toMatchObject({ failed: 0, canceled: 0 })
  expect((await records()).map(({ status }) => status)).toEqual(answers.map(() => 'succeeded'))
}, 150_000)

// PR-01
describe('whatever fails in an activity of', () => {
  const outbox: OutboxSender = { mirrors: false, drain: async () => undefined }
  const answers = { startFlight: async () => 'started', running: async () => new Set() }
  const temporal = { ...answers, wakeFlight: async () => undefined } as unknown as TemporalApi
  const logger = new DefaultLogger('ERROR', () => undefined)
  const limits = { taskTimeoutMs: 1_000, maxAttempts: 12 }

  /** Every method of the store throws this; what the activities themselves repeat until stored, once. */
  function tables(code: (typeof errorCodes)[number]) {
    let isFirst = true
    const fail = async () => {
      if (code !== 'store_unavailable' || isFirst) {
        isFirst = false
        throw new ServiceError(code, 'staged')
      }
      throw new Error('staged')
    }
    const failing: object = new Proxy({}, { get: (_, name) => (name === 'deliveries' ? failing : fail) })
    const store = failing as Store
    const parts = { store, processId: 'p', queue: 'q', limits, concurrency: 1, retentionMs: 1 }
    const webhooks = {
      secrets: [{ reveal: () => secrets[0]! }],
      rules: { allowHttp: false, allowCidrs: [], allowPorts: [] },
    }
    const unused = () => {
      throw new Error('not reached')
    }
    return makeActivities(
      {
        ...parts,
        held: makeHeldCalls(store, parts.processId),
        resolve: unused,
        platform: unused,
        webhooks,
        outbox,
        temporal,
      },
      new AbortController().signal,
    )
  }

  /** Each reads of it what it wants. */
  const input = Object.assign(['a'], { id: 'a', ids: ['a'], lane: 'call' })
  const all = Object.entries(tables('internal')).flatMap(([queue, activities]) =>
    Object.keys(activities ?? {}).map((name) => ({
      queue: queue as 'flights' | 'guards' | 'deliveries',
      name,
    })),
  )

  test.each(all)('$queue, $name is tried again', async ({ queue, name }) => {
    for (const code of errorCodes) {
      const activities = tables(code)[queue] as unknown as Record<
        string,
        (input: unknown) => Promise<unknown>
      >
      const failure = await new MockActivityEnvironment(undefined, { logger })
        .run(activities[name]!, input)
        .then(
          () => 'none',
          (error: unknown) => error,
        )
      expect(failure, code).toBeInstanceOf(ApplicationFailure)
      expect(failure, code).toMatchObject({ nonRetryable: false })
    }
  })
})

// PR-01
describe('a worker that fails for good, as those of earlier releases may', () => {
  type Activity = (input: never) => Promise<unknown>

  /** Runs its workflows with these activities, each failing for good before it works. */
  async function stage(activities: Record<string, Activity>) {
    installRuntimeOnce()
    const taskQueue = `test-${randomUUID()}`
    const connection = await Connection.connect({ address: inject('temporalAddress') })
    const native = await NativeConnection.connect({ address: inject('temporalAddress') })
    const failures: string[] = []
    const failingFirst = Object.entries(activities).map(([name, run]): [string, Activity] => [
      name,
      async (input) => {
        if (!failures.includes(name)) {
          failures.push(name)
          throw ApplicationFailure.nonRetryable('staged', 'draining')
        }
        return run(input)
      },
    ])
    const worker = await Worker.create({
      connection: native,
      taskQueue,
      workflowBundle: await workflowBundle(bundleFolder),
      activities: Object.fromEntries(failingFirst),
      sinks: traceSinks,
    })
    const running = worker.run()
    onTestFinished(async () => {
      worker.shutdown()
      await running
      await native.close()
      await connection.close()
    })
    const client = new Client({ connection })
    return {
      client,
      failures,
      start: (workflow: string, input?: unknown) =>
        client.workflow.start(workflow, {
          taskQueue,
          workflowId: `${workflow}-${randomUUID()}`,
          args: input === undefined ? [] : [input],
        }),
      taskQueue,
    }
  }

  const settings: FlightInput = { ids: ['a', 'b'], lane: 'call', platform: 'v2', heartbeatTimeoutMs: 2_000 }
  const none = { succeeded: 0, failed: 0, canceled: 0, open: [] }

  test('delays a flight by a round; its deadlines are watched on', async () => {
    const looked = Promise.withResolvers<void>()
    const { client, start, failures } = await stage({
      async fly({ ids }: FlyInput): Promise<FlyReport> {
        await looked.promise
        return { ...none, succeeded: ids.length }
      },
      async endOverdue() {
        looked.resolve()
        return {}
      },
    })
    const flight = await start('flight', { ...settings, deadlineInMs: 10 })
    expect(await flight.result()).toEqual({ succeeded: 2, failed: 0, canceled: 0 })
    expect(failures.toSorted()).toEqual(['endOverdue', 'fly'])
    await recordHistory(client, flight.workflowId, 'flight-failed-round')
  })

  test('does not keep a cancelled flight from ending its records', async () => {
    let isCanceled = false
    const { client, start } = await stage({
      async fly({ ids }: FlyInput): Promise<FlyReport> {
        if (isCanceled) return { ...none, canceled: ids.length }
        return { ...none, open: ids.map((id) => ({ id, why: 'paused', waitMs: 0 })) }
      },
      async cancelOpen() {
        isCanceled = true
      },
    })
    const flight = await start('flight', settings)
    await vi.waitFor(async () => expect(await hasFlown(flight)).toBe(true), deadline)
    await flight.cancel()
    await expect(flight.result()).rejects.toMatchObject({ cause: { name: 'CancelledFailure' } })
    expect(isCanceled).toBe(true)
    await recordHistory(client, flight.workflowId, 'flight-failed-cancel')
  })

  test('delays the delivery of a webhook, not its schedule', async () => {
    const { client, start, taskQueue } = await stage({
      reopenDelivery: async () => undefined,
      deliver: async () => ({ status: 'succeeded', waitMs: 0 }),
    })
    const delivery = await start('delivery', { id: 'd', queue: taskQueue, again: true })
    expect(await delivery.result()).toBe('succeeded')
    await recordHistory(client, delivery.workflowId, 'delivery-failed-round')
  })

  test('delays the deletion of expired records', async () => {
    const { client, start } = await stage({ expireRecords: async () => 3 })
    const retention = await start('retention')
    expect(await retention.result()).toBe(3)
    await recordHistory(client, retention.workflowId, 'retention-failed-round')
  })

  test('delays an ownership check', async () => {
    const report = { checked: { flights: 1, guards: 0, deliveries: 0, validations: 0 }, ownerless: [] }
    const { client, start } = await stage({ checkOwnership: async () => report })
    const check = await start('ownershipCheck', { found: 'command' })
    expect(await check.result()).toEqual(report)
    await recordHistory(client, check.workflowId, 'ownership-check-failed-round')
  })

  async function hasFlown(flight: WorkflowHandle): Promise<boolean> {
    const { events } = await flight.fetchHistory()
    return events?.some((event) => event.activityTaskCompletedEventAttributes) ?? false
  }
})
