/**
 * Flights in lane `job` on Replicate and RunPod, from submission to a terminal record: real Temporal, real store,
 * provider twins. Numbers are those of the required behaviours (prediction-agent specification, section 8).
 */
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { outcomeResponse } from '../api/outcome.ts'
import { flightIdOf } from '../contracts/names.ts'
import type { Scenario } from '../dev/twins/job.ts'
import { startReplicateTwin } from '../dev/twins/replicate.ts'
import { startRunpodTwin } from '../dev/twins/runpod.ts'
import type { StoredPrediction } from '../records/store.ts'
import { type InProcessOptions, recordHistory, startInProcess } from './support/in-process.ts'
import { startScriptedServer } from './support/scripted-server.ts'

const deadline = { timeout: 30_000, interval: 25 }
const apiKey = 'r8_key_of_ours'
const secret = { reveal: () => apiKey }

/** Whatever differs between the two: names of routes, words, faults. */
const providers = [
  {
    name: 'replicate' as const,
    routes: { create: 'create', poll: 'get' },
    words: { canceled: 'canceled', odd: 'paused' },
    noTime: { omit: ['metrics', 'urls'] },
    async start(scenario: Scenario) {
      const twin = await startReplicateTwin({ apiKey, scenario })
      const settings = {
        platform: 'replicate',
        address: twin.createUrl,
        modelId: 'v1',
        apiKey: secret,
      } as const
      return { twin, settings }
    },
  },
  {
    name: 'runpod' as const,
    routes: { create: 'run', poll: 'status' },
    words: { canceled: 'CANCELLED', odd: 'PAUSED' },
    noTime: { omit: ['executionTime', 'delayTime', 'workerId'] },
    async start(scenario: Scenario) {
      const twin = await startRunpodTwin({ apiKey, scenario })
      const settings = { platform: 'runpod', address: twin.baseUrl, modelId: 'e1', apiKey: secret } as const
      return { twin, settings }
    },
  },
]

describe.each(providers)('$name', ({ name, routes, words, noTime, start }) => {
  async function stage(scenario: Scenario = {}, options: InProcessOptions = {}) {
    const { twin, settings } = await start(scenario)
    onTestFinished(() => twin.close())
    const flight = await startInProcess({
      ...options,
      settings: (_, timeoutMs) => ({ ...settings, timeoutMs }),
    })
    const { service } = flight.lifecycle
    const request = (own: Scenario = {}) =>
      flight.request(1, { inputs: JSON.stringify({ prompt: 'a cat', twin: { ...scenario, ...own } }) })
    return {
      ...flight,
      twin,
      service,
      request,
      /** Submits and waits for the end. */
      async run(own: Scenario = {}): Promise<StoredPrediction> {
        const { id } = await service.submit(request(own))
        const record = await service.waitFor(id, 30_000)
        return record!
      },
      async untilRunning() {
        await vi.waitFor(() => expect(twin.jobs.at(-1)?.phase).toBe('running'), deadline)
      },
    }
  }

  test('an async prediction becomes one job, and its output and time are in the record', async () => {
    const { run, twin, client } = await stage({ runMs: 50 })
    const record = await run({ output: ['https://files.test/a.png'] })
    expect(record).toMatchObject({ status: 'succeeded', platform: name })
    expect(JSON.parse(record.outputs)).toEqual({ output: ['https://files.test/a.png'] })
    expect(record.runningTime).toMatch(/^0\.\d{6}s$/)
    expect(twin.callsOf(routes.create)).toHaveLength(1)
    expect(twin.callsOf('cancel')).toHaveLength(0)
    if (name === 'replicate') await recordHistory(client, flightIdOf(record.id), 'flight-job')
  })

  test('a sync predict is a flight and a wait', async () => {
    const { service, request } = await stage({ runMs: 50, output: 'done' })
    const record = await service.predict(request())
    expect(record).toMatchObject({ status: 'succeeded', queueId: flightIdOf(record.id) })
    expect(JSON.parse(record.outputs)).toEqual({ output: 'done' })
  })

  test('sync predictions that no worker takes up in time are refused with 503, their records failed', async () => {
    const { service, request, store, workers } = await stage({}, { queueAllowanceMs: 500 })
    await workers?.stop()
    const refused = await service.predict(request()).catch((error: unknown) => error)
    expect(refused).toMatchObject({ code: 'temporal_unavailable', message: 'task queue failed' })
    const { items } = await store.list({ limit: 10 })
    expect(items).toMatchObject([{ status: 'failed', errorInfo: 'task queue failed' }])
  })

  // PR-05
  test('with a key the same refusal withdraws nothing: the prediction goes on, and the same request again finds it', async () => {
    const { service, request, store, twin, ...staged } = await stage(
      { output: 'done' },
      { queueAllowanceMs: 500 },
    )
    await staged.workers?.stop()
    const keyed = { ...request(), idempotency: { key: 'k', fingerprint: 'f' } }
    for (let n = 0; n < 2; n++) {
      await expect(service.predict(keyed)).rejects.toMatchObject({ code: 'temporal_unavailable' })
    }
    const { items } = await store.list({ limit: 10 })
    expect(items).toMatchObject([{ status: 'pending' }])
    await staged.startWorker()
    expect(await service.waitFor(items[0]!.id, 30_000)).toMatchObject({ status: 'succeeded' })
    expect(await service.submit(keyed)).toEqual({ id: items[0]!.id, earlier: true })
    expect(twin.callsOf(routes.create)).toHaveLength(1)
  })

  test('a paused queue holds back async predictions only', async () => {
    const { service, request, store, queue, twin } = await stage({ output: 'done' })
    await store.pause(queue)
    const { id } = await service.submit(request())
    expect((await service.predict(request())).status).toBe('succeeded')
    expect(await store.get(id)).toMatchObject({ status: 'pending' })
    expect(twin.jobs).toHaveLength(1)
    await service.cancel(id)
    await store.unpause(queue)
  })

  test.each(['async', 'sync'])('1: cancelling a running %s task cancels its job within 5 s', async (kind) => {
    const { service, request, twin, untilRunning, store, client, app } = await stage({ end: 'never' })
    const sync = kind === 'sync' ? service.predict(request()) : undefined
    if (sync === undefined) await service.submit(request())
    await untilRunning()
    const [record] = (await store.list({ limit: 1 })).items
    const since = Date.now()
    expect(await service.cancel(record!.id)).toEqual({ outcome: 'canceled' })
    expect((await store.get(record!.id))?.status).toBe('canceled')
    await vi.waitFor(() => expect(twin.jobs[0]?.phase).toBe('canceled'), deadline)
    expect(Date.now() - since).toBeLessThan(5_000)
    if (sync !== undefined) expect(outcomeResponse(await sync).status).toBe(409)
    await vi.waitFor(async () => {
      const heard = new RegExp(`^cancel_seconds_count\\{platform="${name}"\\} 1$`, 'm')
      expect(await (await app.request('/metrics')).text()).toMatch(heard)
    }, deadline)
    expect(twin.callsOf('cancel')).toHaveLength(1)
    if (name === 'replicate') await recordHistory(client, flightIdOf(record!.id), 'flight-job-canceled')
  })

  test('1: a task canceled while its job is being created cancels the job once its name is known', async () => {
    const { service, request, twin, store } = await stage({ end: 'never' })
    const slow = Promise.withResolvers<void>()
    const fetched = store.beginJob
    // The cancel comes between the note that a creation begins and the creation itself.
    vi.spyOn(store, 'beginJob').mockImplementation(async (...args) => {
      const begun = await fetched(...args)
      await service.cancel(args[0])
      slow.resolve()
      return begun
    })
    const { id } = await service.submit(request())
    await slow.promise
    await vi.waitFor(() => expect(twin.jobs[0]?.phase).toBe('canceled'), deadline)
    expect((await store.get(id))?.status).toBe('canceled')
    await vi.waitFor(async () => expect(await store.cancelsDue([id])).toEqual([]), deadline)
  })

  test('2: cancels racing completions leave each record with one terminal status that never changes', async () => {
    const { service, request, store } = await stage({ runMs: 300 }, { concurrency: 20 })
    const ids = await Promise.all(
      Array.from({ length: 20 }, async (_, n) => (await service.submit(request({ runMs: 20 * n }))).id),
    )
    await vi.waitFor(async () => {
      expect((await store.terminalAmong(ids)).size).toBeGreaterThan(0)
    }, deadline)
    await Promise.all(ids.map((id) => service.cancel(id)))
    const first = await store.terminalAmong(ids)
    expect(first.size).toBe(ids.length)
    for (const id of ids) {
      await vi.waitFor(async () => expect(await store.cancelsDue([id])).toEqual([]), deadline)
      await store.transition(id, 'succeeded', { outputs: '"late"', runningTime: '9s' })
    }
    expect(await store.terminalAmong(ids)).toEqual(first)
    expect([...new Set(first.values())].every((status) => status !== 'failed')).toBe(true)
  })

  test('a cancel waits until a provider that is away has heard it', async () => {
    const { service, request, twin, untilRunning, store, client } = await stage({ end: 'never' })
    const { id } = await service.submit(request())
    await untilRunning()
    twin.fault('cancel', 503, 'reset')
    await service.cancel(id)
    await vi.waitFor(() => expect(twin.jobs[0]?.phase).toBe('canceled'), deadline)
    expect(twin.callsOf('cancel')).toHaveLength(3)
    await vi.waitFor(async () => expect(await store.cancelsDue([id])).toEqual([]), deadline)
    await vi.waitFor(async () => {
      const { status } = await client.workflow.getHandle(flightIdOf(id)).describe()
      expect(status.name).toBe('COMPLETED')
    }, deadline)
    if (name === 'replicate') await recordHistory(client, flightIdOf(id), 'flight-job-cancel-late')
  })

  test('12: one 503 and then a 200 ends succeeded; a 400 is tried once', async () => {
    const { run, twin } = await stage()
    twin.fault(routes.create, 503)
    expect((await run()).status).toBe('succeeded')
    expect(twin.callsOf(routes.create)).toHaveLength(2)
    twin.fault(routes.create, 400)
    expect(await run()).toMatchObject({ status: 'failed', errorCode: 'platform_rejected' })
    expect(twin.callsOf(routes.create)).toHaveLength(3)
  })

  test('an ambiguous creation is repeated once and no more', async () => {
    const { run, twin } = await stage({ end: 'never' })
    twin.fault(routes.create, 'lost', 'lost', 'lost')
    expect(await run()).toMatchObject({ status: 'failed', errorCode: 'platform_connection_lost' })
    expect(twin.callsOf(routes.create)).toHaveLength(2)
  })

  test('19: a job canceled at the provider ends its task within one poll', async () => {
    const { service, request, twin, untilRunning, store } = await stage({ end: 'never' })
    const { id } = await service.submit(request())
    await untilRunning()
    const polls = twin.callsOf(routes.poll).length
    twin.jobs[0]!.cancel()
    const record = await service.waitFor(id, 20_000)
    expect(record).toMatchObject({ status: 'canceled', errorCode: 'prediction_canceled' })
    expect(twin.callsOf(routes.poll).length - polls).toBeLessThanOrEqual(2)
    expect(outcomeResponse((await store.get(id))!).status).toBe(409)
  })

  test('a status word unknown here is polled on, and told once', async () => {
    const { service, request, twin } = await stage({ end: 'never', replace: { status: words.odd } })
    const { id } = await service.submit(request())
    await vi.waitFor(() => expect(twin.callsOf(routes.poll).length).toBeGreaterThan(2), deadline)
    expect((await service.waitFor(id, 0))?.status).toBe('running')
    await service.cancel(id)
    await vi.waitFor(() => expect(twin.jobs[0]?.phase).toBe('canceled'), deadline)
  })

  test('20: a reset, a 500 and a 429 between good polls end succeeded, with no poll inside Retry-After', async () => {
    const { run, twin } = await stage({ runMs: 200 })
    const busy = { status: 429, headers: { 'retry-after': '2' } }
    const record = await run({ faults: { [routes.poll]: ['reset', 500, busy] } })
    expect(record.status).toBe('succeeded')
    const polls = twin.callsOf(routes.poll)
    expect(polls).toHaveLength(4)
    expect(polls[3]!.at - polls[2]!.at).toBeGreaterThanOrEqual(1_990)
  })

  test('21: answers without times or addresses end in a defined status, the time measured', async () => {
    const { run } = await stage()
    const record = await run({ ...noTime, runMs: 100, output: 1 })
    expect(record.status).toBe('succeeded')
    expect(record.runningTime).toMatch(/^\d+\.\d{6}s$/)
    expect(await run({ omit: ['id', 'urls'] })).toMatchObject({
      status: 'failed',
      errorCode: 'platform_bad_answer',
    })
    expect((await run()).status).toBe('succeeded')
  })

  test('22: success without data and an expired result end failed, with codes of their own', async () => {
    const { run } = await stage()
    expect(await run({ omit: ['output'] })).toMatchObject({
      status: 'failed',
      errorCode: 'provider_output_missing',
    })
    const expired = await run({ faults: { [routes.poll]: [404] }, runMs: 5_000 })
    expect(expired).toMatchObject({ status: 'failed', errorCode: 'provider_result_expired' })
  })

  test('23: our deadline cancels the job, which also had a deadline of its own', async () => {
    const { run, twin } = await stage({ end: 'never' }, { taskTimeoutMs: 1_500 })
    const record = await run()
    expect(record).toMatchObject({ status: 'failed', errorInfo: 'status 20000: predict timeout' })
    expect(outcomeResponse(record).status).toBe(504)
    await vi.waitFor(() => expect(twin.jobs[0]?.phase).toBe('canceled'), deadline)
    const [create] = twin.callsOf(routes.create)
    const given =
      name === 'replicate'
        ? Number.parseInt(String(create!.headers['cancel-after']), 10) * 1000
        : (JSON.parse(create!.body) as { policy: { ttl: number } }).policy.ttl
    expect(given).toBeGreaterThan(1_500)
    expect(given).toBeLessThan(60_000)
  })

  test('24: a forged address in an answer gets no request, and no key', async () => {
    const thief = await startScriptedServer()
    onTestFinished(() => thief.close())
    const forged = { get: `${thief.origin}/steal`, cancel: `${thief.origin}/steal`, stream: thief.origin }
    const { service, request, run, twin, untilRunning } = await stage()
    expect((await run({ replace: { urls: forged }, runMs: 100 })).status).toBe('succeeded')
    const { id } = await service.submit(request({ replace: { urls: forged }, end: 'never' }))
    await untilRunning()
    await service.cancel(id)
    await vi.waitFor(() => expect(twin.jobs.at(-1)?.phase).toBe('canceled'), deadline)
    expect(thief.calls).toEqual([])
  })

  test('25, 26: failures have the right status, and their texts name no address and no key', async () => {
    const { run, twin } = await stage()
    const leaky = { error: { url: twin.origin, key: apiKey }, detail: `${twin.origin} refused ${apiKey}` }
    const wanted: [number, number][] = [
      [400, 400],
      [401, 502],
      [403, 502],
      [404, 400],
      [501, 502],
    ]
    for (const [upstream, status] of wanted) {
      // Whether a 501 made a job is open, so it is tried twice.
      const fault = { status: upstream, body: leaky }
      twin.fault(routes.create, fault, ...(upstream >= 500 ? [fault] : []))
      const record = await run()
      expect(record.status, String(upstream)).toBe('failed')
      expect(outcomeResponse(record).status, String(upstream)).toBe(status)
      expect(record.errorInfo).not.toContain(apiKey)
      expect(record.errorInfo).not.toContain(new URL(twin.origin).host)
      expect(record.errorInfo).not.toContain('map[')
    }
    const failed = await run({ end: 'failed', error: `out of memory at ${twin.origin} with ${apiKey}` })
    expect(failed).toMatchObject({ status: 'failed', errorCode: 'platform_job_failed' })
    expect(outcomeResponse(failed).status).toBe(500)
    expect(failed.errorInfo).toContain('out of memory')
    expect(failed.errorInfo).not.toContain(apiKey)
    expect(failed.errorInfo).not.toContain(new URL(twin.origin).host)
  })
})

test('19: a Replicate job aborted before its start is canceled for the record, and 504 for who waited', async () => {
  const twin = await startReplicateTwin({ scenario: { queueMs: 60_000, replace: { status: 'aborted' } } })
  onTestFinished(() => twin.close())
  const { lifecycle, request } = await startInProcess({
    settings: (_, timeoutMs) => ({
      platform: 'replicate',
      address: twin.createUrl,
      modelId: 'v1',
      apiKey: secret,
      timeoutMs,
    }),
  })
  const record = await lifecycle.service.predict(request(1))
  expect(record).toMatchObject({
    status: 'canceled',
    errorCode: 'prediction_aborted',
    errorInfo: expect.stringContaining('before the start'),
  })
  expect(outcomeResponse(record).status).toBe(504)
})

test('19: a RunPod job that timed out there ends failed as a timeout', async () => {
  const twin = await startRunpodTwin({ scenario: { end: 'never', replace: { status: 'TIMED_OUT' } } })
  onTestFinished(() => twin.close())
  const { lifecycle, request } = await startInProcess({
    settings: (_, timeoutMs) => ({
      platform: 'runpod',
      address: twin.baseUrl,
      modelId: 'e1',
      apiKey: secret,
      timeoutMs,
    }),
  })
  const record = await lifecycle.service.predict(request(1))
  expect(record.status).toBe('failed')
  expect(outcomeResponse(record).status).toBe(504)
})
