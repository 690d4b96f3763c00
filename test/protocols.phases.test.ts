/** The phases of an attempt on a ready server: waiting, requests, goldens, load, and what a dying job does to them. */
import { expect, onTestFinished, test, vi } from 'vitest'
import type { Observation } from '../contracts/validation-record.ts'
import type { ProbeRequest } from '../contracts/validation-requests.ts'
import { deadlineIn } from '../protocols/deadline.ts'
import { runLoad } from '../protocols/load.ts'
import { besideJob, waitUntilReady } from '../protocols/readiness.ts'
import { type QueryPhase, runGoldens, runRequests } from '../protocols/requests.ts'
import {
  after,
  hang,
  json,
  resetAfterRequest,
  type Step,
  send,
  startScriptedServer,
} from './support/scripted-server.ts'

const running = async (): Promise<Observation> => ({ state: 'Running' })
const oomKilled = async (): Promise<Observation> => ({
  state: 'Aborted',
  failure: 'OOM_KILLED',
  exitCode: 137,
  reason: 'OOMKilled',
})

async function phaseOf(step: Step, over: Partial<QueryPhase> = {}) {
  const server = await startScriptedServer(step)
  onTestFinished(() => server.close())
  const phase: QueryPhase = {
    target: { endpoints: { http: server.address }, modelName: 'm', binary: { kind: 'mlrun-v2' } },
    observe: running,
    deadline: deadlineIn(60_000),
    requestTimeoutMs: 10_000,
    ...over,
  }
  return { server, phase }
}

const requests: ProbeRequest[] = [{ inputs: [1] }, { inputs: [2], id: 'second' }, { inputs: [3] }]

function waitFor(phase: QueryPhase, over: Partial<Parameters<typeof waitUntilReady>[0]> = {}) {
  const { target, observe, deadline } = phase
  return waitUntilReady({ target, observe, deadline, pollIntervalMs: 20, readyStreak: 2, ...over })
}

test('ready means: that many polls in a row', async () => {
  const { server, phase } = await phaseOf(send(''))
  const [ready, loading] = [send(''), send('', 408)]
  server.script(loading, ready, loading, ready, ready, ready)
  await waitFor(phase, { readyStreak: 3 })
  expect(server.calls).toHaveLength(6)
})

test('the job is looked at before every poll, and once more at the end', async () => {
  const order: string[] = []
  const { phase } = await phaseOf((_call, response) => {
    order.push('model')
    response.end()
  })
  const observe = async () => {
    order.push('job')
    return await running()
  }
  await waitFor(phase, { observe })
  expect(order).toEqual(['job', 'model', 'job', 'model', 'job'])
})

test('BUG-08: a job that dies ends the wait at the next poll, with its cause', async () => {
  const { phase } = await phaseOf(send('', 408))
  let looks = 0
  const observe = () => (++looks > 3 ? oomKilled() : running())
  await expect(waitFor(phase, { observe })).rejects.toMatchObject({
    code: 'OOM_KILLED',
    message: expect.stringContaining('137'),
  })
})

test('a load that failed for good ends the wait with the server’s reason', async () => {
  const { phase } = await phaseOf(send('model m doesnt exist, available models: x', 400))
  await expect(waitFor(phase)).rejects.toMatchObject({ code: 'MODEL_LOAD_FAILED', message: /doesnt exist/ })
})

test('the deadline ends the wait with the last thing seen, after one poll at least', async () => {
  const { server, phase } = await phaseOf(send('', 408))
  await expect(waitFor(phase, { deadline: deadlineIn(0) })).rejects.toMatchObject({
    code: 'DEADLINE_EXCEEDED',
    message: expect.stringContaining('the model is loading'),
  })
  expect(server.calls).toHaveLength(1)
})

test('BUG-05: a cancelled wait and a cancelled request throw the cancellation, not a failure', async () => {
  const { phase } = await phaseOf(hang)
  const controller = new AbortController()
  const cancelled = new Error('cancelled')
  const waiting = waitFor(phase, { signal: controller.signal })
  const sending = runRequests({ ...phase, signal: controller.signal }, requests)
  controller.abort(cancelled)
  await expect(waiting).rejects.toBe(cancelled)
  await expect(sending).rejects.toBe(cancelled)
})

test('every sample request is sent in order; each failure is listed', async () => {
  const { server, phase } = await phaseOf(json({ outputs: [1] }))
  server.script(json({ outputs: [1] }), send('ValueError: x', 400), json({ outputs: [1] }))
  const { results, failure } = await runRequests(phase, requests)
  expect(server.calls.map(({ body }) => JSON.parse(body))).toEqual([
    { inputs: [1], id: 'request-1' },
    { inputs: [2], id: 'second' },
    { inputs: [3], id: 'request-3' },
  ])
  expect(results).toEqual({
    sent: 3,
    ok: 2,
    failed: [{ id: 'second', class: 'QUERY_FAILED', message: '400: ValueError: x' }],
  })
  expect(failure).toEqual({ class: 'QUERY_FAILED', message: '400: ValueError: x' })
})

test('a transport error is the job’s death when the job is dead, else a failed query', async () => {
  const dead = await phaseOf(resetAfterRequest, { observe: oomKilled })
  expect((await runRequests(dead.phase, requests)).failure).toMatchObject({ class: 'OOM_KILLED' })
  expect(dead.server.calls).toHaveLength(1)
  const alive = await phaseOf(json({}))
  alive.server.script(resetAfterRequest, send('no such page', 404), json({ outputs: [1] }))
  const { results, failure } = await runRequests(alive.phase, requests)
  expect(failure).toMatchObject({ class: 'QUERY_FAILED' })
  expect(results).toMatchObject({ sent: 3, ok: 2 })
})

// Issue 11, item 6.
test('a job whose end its platform sees only after the connection broke has aborted, not failed a query', async () => {
  const load = { concurrencies: [1], requests: 3, warmupRequests: 0 }
  const loaded = (phase: QueryPhase) => runLoad(phase, load, requests)
  for (const run of [runRequests, loaded]) {
    let looks = 0
    const aborted = { state: 'Aborted', failure: 'JOB_ABORTED', exitCode: 7 } as const
    const observe = async (): Promise<Observation> => (++looks > 3 ? aborted : { state: 'Running' })
    const { phase } = await phaseOf(resetAfterRequest, { observe })
    expect((await run(phase, requests)).failure).toEqual({
      class: 'JOB_ABORTED',
      message: 'the job exited with code 7',
    })
  }
})

test('a server that lives and answers nothing is asked about once a phase', async () => {
  const { server, phase } = await phaseOf(resetAfterRequest)
  // So long an explanation is waited for, however often one is missing.
  const bounded = { ...phase, deadline: { leftMs: () => 300, passed: false } }
  const { results } = await runRequests(bounded, requests)
  expect(results.failed.map((one) => one.class)).toEqual(['QUERY_FAILED', 'QUERY_FAILED', 'QUERY_FAILED'])
  const sent = server.calls.map(({ method }) => method)
  expect(sent.slice(sent.lastIndexOf('GET'))).toEqual(['GET', 'POST', 'POST'])
})

test('BUG-10: a request that never answers ends at its limit, the phase at its budget', async () => {
  const slow = await phaseOf(hang, { requestTimeoutMs: 50 })
  expect((await runRequests(slow.phase, requests.slice(0, 1))).results.failed[0]?.message).toBe(
    'no answer within 50 ms',
  )
  const spent = await phaseOf(hang)
  // Begins here: no busy machine spends it while the server starts.
  const deadline = deadlineIn(300)
  const { results, failure } = await runRequests({ ...spent.phase, deadline }, requests)
  expect(failure).toMatchObject({ class: 'DEADLINE_EXCEEDED' })
  expect(results.sent).toBe(1)
})

test('BUG-10: setting the wall clock back lengthens no limit', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  onTestFinished(() => {
    vi.useRealTimers()
  })
  const { phase } = await phaseOf(hang, { deadline: deadlineIn(300), requestTimeoutMs: 100 })
  const sending = runRequests(phase, requests.slice(0, 1))
  const waiting = waitFor({ ...phase, deadline: deadlineIn(50) })
  vi.setSystemTime(Date.now() - 3_600_000)
  expect((await sending).failure).toBeDefined()
  await expect(waiting).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' })
})

test('a job that dies beside a phase cancels it', async () => {
  const { phase } = await phaseOf(hang)
  let looks = 0
  const observe = () => (++looks > 2 ? oomKilled() : running())
  await expect(
    besideJob(observe, { intervalMs: 10, deadline: phase.deadline }, (signal) =>
      runRequests({ ...phase, signal }, requests),
    ),
  ).rejects.toMatchObject({ code: 'OOM_KILLED' })
})

test('goldens pass and fail one by one', async () => {
  const { server, phase } = await phaseOf(json({}))
  server.script(json({ outputs: [1.0000001, 2] }), json({ outputs: [1.5, 2] }))
  const golden = (id: string) => ({
    id,
    request: { inputs: [1] } satisfies ProbeRequest,
    outputs: { outputs: { data: [1.0, 2.5 - 0.5] } },
    rules: { outputs: { rule: 'close' as const, atol: 1e-6, rtol: 1e-5 } },
    flatten: false,
    nanEqual: false,
  })
  const { results, failure } = await runGoldens(phase, [golden('good'), golden('off')])
  expect(results).toMatchObject([
    { id: 'good', pass: true },
    {
      id: 'off',
      pass: false,
      maxAbsDiff: 0.5,
      worst: { output: 'outputs', index: 0, expected: 1, actual: 1.5 },
    },
  ])
  expect(failure).toMatchObject({
    class: 'GOLDEN_MISMATCH',
    message: expect.stringContaining('off: output outputs'),
  })
})

test('load: each concurrency sends its requests, warm-up is not counted, errors are told apart', async () => {
  const { server, phase } = await phaseOf(json({ outputs: 1 }))
  let number = 0
  server.script((call, response, request) => {
    const step = number++ % 5 === 4 ? send('ValueError: x', 400) : json({ outputs: 1 })
    step(call, response, request)
  })
  const load = { concurrencies: [1, 4], requests: 20, warmupRequests: 3 }
  const { results, failure } = await runLoad(phase, load, requests)
  expect(failure).toBeUndefined()
  expect(server.calls).toHaveLength(46)
  expect(results.map(({ concurrency, n }) => ({ concurrency, n }))).toEqual([
    { concurrency: 1, n: 20 },
    { concurrency: 4, n: 20 },
  ])
  for (const { errors, p50, p99, max, rps } of results) {
    expect(errors).toHaveProperty('http_400')
    expect(p50 ?? 0).toBeGreaterThan(0)
    expect(p50 ?? 0).toBeLessThanOrEqual(p99 ?? 0)
    expect(p99 ?? 0).toBeLessThanOrEqual(max ?? 0)
    expect(rps).toBeGreaterThan(0)
  }
})

test('load: a duration ends it, and that many connections are open at once', async () => {
  const { server, phase } = await phaseOf(after(5, json({ outputs: 1 })))
  const load = { concurrencies: [4], durationSeconds: 0.3, warmupRequests: 0 }
  const { results } = await runLoad(phase, load, requests)
  expect(results[0]?.n).toBeGreaterThan(3)
  expect(server.connections).toBe(4)
})

test('load: a dead job and a spent budget end it', async () => {
  const load = { concurrencies: [2, 4], requests: 1000, warmupRequests: 0 }
  const dead = await phaseOf(resetAfterRequest, { observe: oomKilled })
  expect((await runLoad(dead.phase, load, requests)).failure).toMatchObject({ class: 'OOM_KILLED' })
  const spent = await phaseOf(after(20, json({ outputs: 1 })), { deadline: deadlineIn(200) })
  expect((await runLoad(spent.phase, load, requests)).failure).toMatchObject({ class: 'DEADLINE_EXCEEDED' })
})
