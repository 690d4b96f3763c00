/** Stop as a compensation: cancelled in any phase, lost replies, stops that fail, workers that leave (BY-01, BY-07, BUG-02, -05, -06). */
import { expect, onTestFinished, test, vi } from 'vitest'
import { keeperIdOf } from '../contracts/names.ts'
import type { ValidationPhase } from '../contracts/validations.ts'
import type { Runner } from '../runners/index.ts'
import { recordHistory } from './support/in-process.ts'
import { hang, startScriptedServer } from './support/scripted-server.ts'
import {
  candidateRequest,
  doubling,
  patience,
  startValidations,
  type Validations,
} from './support/validations.ts'

const requests = [doubling.request]

async function expectClosed(world: Validations, workflowId: string, status: string): Promise<void> {
  await vi.waitFor(async () => {
    expect((await world.client.workflow.getHandle(workflowId).describe()).status.name).toBe(status)
  }, patience)
}

async function keeperOf({ client }: Validations, id: string): Promise<string> {
  return keeperIdOf(id, (await client.workflow.getHandle(id).describe()).runId)
}

async function expectAborted(world: Validations, id: string, stops = 1): Promise<void> {
  const record = await world.ended(id)
  expect(record, JSON.stringify(record)).toMatchObject({ status: 'ended', verdict: 'ABORTED' })
  await expectClosed(world, id, 'CANCELLED')
  await expectClosed(world, await keeperOf(world, id), 'COMPLETED')
  expect((await world.steps(id)).filter((step) => step === 'stopJob')).toHaveLength(stops)
  expect((await world.jobs()).filter(({ alive }) => alive)).toEqual([])
  expect(await world.store.validations.blessings({ limit: 10, verdict: 'BLESSED' })).toEqual([])
}

const phases: [ValidationPhase, Record<string, unknown>][] = [
  ['loading', candidateRequest({ LOAD_MS: '60000' })],
  ['requests', candidateRequest({ ON_INFER: 'hang' }, { requests })],
  ['golden', candidateRequest({ ON_INFER: 'hang' }, { goldens: [doubling] })],
  [
    'load',
    candidateRequest(
      { ON_INFER: 'slow:50' },
      { requests, load: { concurrencies: [1], durationSeconds: 60 } },
    ),
  ],
]

test.each(phases)(
  'BY-01 FL-10 BUG-05: cancelled while %s: one stop, ABORTED, no retry',
  async (phase, request) => {
    const world = await startValidations()
    const id = await world.submit(request)
    await world.reaches(id, phase)
    await world.service.cancel(id)
    await expectAborted(world, id)
    const attempts = await world.attempts(id)
    expect(attempts).toMatchObject([{ n: 1, outcome: 'cancelled', cleanup: { gone: true } }])
    await expect(world.service.cancel(id)).rejects.toMatchObject({ code: 'conflict' })
    if (phase === 'loading') await recordHistory(world.client, id, 'validation-cancelled-kept')
  },
)

test('BY-01: cancelled while it starts: the stop waits for the start, and removes what it made', async () => {
  const world = await startValidations({ worker: false })
  const started = Promise.withResolvers<void>()
  const answered = Promise.withResolvers<void>()
  await world.startWorker({
    runners: {
      ...world.runners,
      of: (job, options) =>
        overriding(world.runners.of(job, options), (runner) => ({
          async start(startOptions) {
            const made = await runner.start(startOptions)
            started.resolve()
            await answered.promise
            return made
          },
        })),
    },
  })
  const id = await world.submit(candidateRequest())
  await started.promise
  await world.service.cancel(id)
  await vi.waitFor(async () => {
    const { events } = await world.client.workflow.getHandle(id).fetchHistory()
    expect(events?.some((event) => event.activityTaskCancelRequestedEventAttributes)).toBe(true)
  }, patience)
  expect(await world.steps(id)).not.toContain('stopJob')
  answered.resolve()
  await expectAborted(world, id)
  expect(await world.steps(id)).not.toContain('waitRunning')
})

test('BY-01: cancelled while it waits until the server runs: one stop, ABORTED', async () => {
  const world = await startValidations({ worker: false })
  await world.startWorker({
    runners: {
      ...world.runners,
      of: (job, options) =>
        overriding(world.runners.of(job, options), () => ({
          waitUntilRunning: (_deadline, { signal } = {}) =>
            new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason))),
        })),
    },
  })
  const id = await world.submit(candidateRequest())
  await world.reaches(id, 'scheduled')
  await world.service.cancel(id)
  await expectAborted(world, id)
  expect(await world.steps(id)).not.toContain('waitModelReady')
})

test('BY-01: cancelled before anything runs: nothing is started and nothing is owed', async () => {
  const world = await startValidations({ worker: false })
  const id = await world.submit(candidateRequest())
  await world.service.cancel(id)
  await world.startWorker()
  await expectAborted(world, id, 0)
  expect(await world.jobs()).toEqual([])
})

test('BY-01 BUG-06: cancelled while it stops: the stop finishes, then the run ends as cancelled', async () => {
  const world = await startValidations()
  const id = await world.submit(
    candidateRequest({ ON_TERM: 'ignore' }, { validationSpec: { stopGraceSeconds: 3 } }),
  )
  await world.reaches(id, 'stopping')
  await world.service.cancel(id)
  await expectAborted(world, id)
  expect(await world.attempts(id)).toMatchObject([{ outcome: 'passed', cleanup: { gone: true } }])
})

test('BY-01: cancelled between two attempts: no second job', async () => {
  const world = await startValidations()
  const id = await world.submit(
    candidateRequest(
      {},
      {
        binary: { command: [process.execPath, '-e', 'process.exit(3)'] },
        validationSpec: { numTries: 3, retryDelay: { initialSeconds: 60, maxSeconds: 60 } },
      },
    ),
  )
  await vi.waitFor(async () => expect((await world.attempts(id))[0]?.cleanup?.gone).toBe(true), patience)
  await world.service.cancel(id)
  await expectAborted(world, id)
  expect(await world.jobs()).toHaveLength(1)
})

test('BUG-02: a stop that fails after a passing attempt leaves it BLESSED with a warning, and somebody goes on stopping', async () => {
  const world = await startValidations({ worker: false })
  let refused = 0
  await world.startWorker({
    runners: {
      ...world.runners,
      of: (job, options) =>
        overriding(world.runners.of(job, options), (runner) => ({
          async stop(grace, deadline) {
            if (refused++ > 0) return runner.stop(grace, deadline)
            return { gone: false, attempts: 7, killed: false, lastError: 'not now', leftovers: ['it'] }
          },
        })),
    },
  })
  const id = await world.submit(candidateRequest())
  const record = await world.ended(id)
  expect(record.verdict).toBe('BLESSED')
  const { blessing } = (await world.store.validations.blessing(record.blessingId ?? ''))!
  expect(blessing.warnings).toEqual(['CLEANUP_FAILED: binary 0, attempt 1: not now'])
  expect(blessing.binaries[0]?.attempts[0]?.cleanup).toEqual({
    gone: false,
    attempts: 7,
    lastError: 'not now',
  })
  await vi.waitFor(async () => {
    expect((await world.attempts(id))[0]?.cleanup?.gone).toBe(true)
    expect((await world.jobs()).filter(({ alive }) => alive)).toEqual([])
  }, patience)
  const cleanup = world.client.workflow.getHandle(`${id}-cleanup-0-1`)
  expect(await cleanup.result()).toEqual({ gone: true })
  await recordHistory(world.client, `${id}-cleanup-0-1`, 'validation-cleanup')
})

test('BY-07: when start’s answer is lost the retried start adopts the job; one exists, and stop removes it', async () => {
  const world = await startValidations({ worker: false })
  const answers: boolean[] = []
  const { ServiceError } = await import('../contracts/errors.ts')
  await world.startWorker({
    runners: {
      ...world.runners,
      of: (job, options) =>
        overriding(world.runners.of(job, options), (runner) => ({
          async start(startOptions) {
            const started = await runner.start(startOptions)
            answers.push(started.adopted)
            if (answers.length === 1) throw new ServiceError('PLATFORM_UNAVAILABLE', 'the answer is lost')
            return started
          },
        })),
    },
  })
  const id = await world.submit(candidateRequest())
  expect((await world.ended(id)).verdict).toBe('BLESSED')
  expect(answers).toEqual([false, true])
  expect(await world.jobs()).toMatchObject([{ alive: false }])
})

test('a worker that leaves takes the jobs of its host along; the next one tries again', async () => {
  const world = await startValidations({ worker: false })
  const first = await world.startWorker()
  const id = await world.submit(candidateRequest({ LOAD_MS: '2500' }, { validationSpec: { numTries: 3 } }))
  await world.reaches(id, 'loading')
  expect(await world.jobs()).toMatchObject([{ alive: true }])
  await first.stop()
  expect(await world.jobs()).toMatchObject([{ alive: false }])
  await world.startWorker()
  const record = await world.ended(id)
  expect(record.verdict).toBe('BLESSED')
  expect(await world.attempts(id)).toMatchObject([
    { n: 1, outcome: 'failed', errorClass: 'PLATFORM_UNAVAILABLE' },
    { n: 2, outcome: 'passed' },
  ])
}, 120_000)

test('a platform that outlives the worker: the next one goes on with the same attempt', async () => {
  const world = await startValidations({ worker: false })
  const first = await world.startWorker()
  let asked = 0
  const server = await startScriptedServer((call, response, incoming) => {
    if (call.path.endsWith('/ready')) return void response.writeHead(200).end('{}')
    if (++asked === 1) return hang(call, response, incoming)
    const { id } = JSON.parse(call.body) as { id: string }
    const output = { name: 'doubled', shape: [2], datatype: 'FP64', data: [2, 4] }
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ id, outputs: [output] }))
  })
  onTestFinished(() => server.close())
  const id = await world.submit({
    model: { uri: 's3://models/doubling', digest: 'v1' },
    servingSpec: {
      binary: { kind: 'open-inference-v2' },
      platform: { kind: 'endpoint', address: server.address },
    },
    requests,
  })
  await vi.waitFor(() => expect(asked).toBe(1), patience)
  await first.stop()
  await world.startWorker()
  expect((await world.ended(id)).verdict).toBe('BLESSED')
  expect(await world.attempts(id)).toMatchObject([{ n: 1, outcome: 'passed' }])
}, 120_000)

test('terminated by an operator while it loads: its job is stopped, then its record reads ABORTED', async () => {
  const world = await startValidations()
  const id = await world.submit(candidateRequest({ LOAD_MS: '60000' }))
  await world.reaches(id, 'loading')
  await vi.waitFor(async () => expect(await world.jobs()).toMatchObject([{ alive: true }]), patience)
  await world.client.workflow.getHandle(id).terminate('by an operator')
  const record = await world.ended(id)
  expect(record).toMatchObject({ verdict: 'ABORTED', error: null })
  expect((await world.jobs()).filter(({ alive }) => alive)).toEqual([])
  const { blessing } = (await world.store.validations.blessing(record.blessingId ?? ''))!
  expect(blessing).toMatchObject({
    verdict: 'ABORTED',
    warnings: [],
    binaries: [{ passed: false, attempts: [{ n: 1, outcome: 'cancelled', cleanup: { gone: true } }] }],
  })
  await expectClosed(world, await keeperOf(world, id), 'COMPLETED')
  await recordHistory(world.client, await keeperOf(world, id), 'keeper-terminated')
})

test('terminated while nothing runs, its record ends all the same', async () => {
  const world = await startValidations()
  const spec = { numTries: 2, retryDelay: { initialSeconds: 60, maxSeconds: 60 } }
  const dying = { command: [process.execPath, '-e', 'process.exit(3)'] }
  const id = await world.submit(candidateRequest({}, { binary: dying, validationSpec: spec }))
  await vi.waitFor(async () => expect((await world.attempts(id))[0]?.cleanup?.gone).toBe(true), patience)
  await world.client.workflow.getHandle(id).terminate('by an operator')
  const record = await world.ended(id)
  expect(record).toMatchObject({ verdict: 'ABORTED' })
  const { blessing } = (await world.store.validations.blessing(record.blessingId ?? ''))!
  expect(blessing.binaries[0]?.attempts).toMatchObject([{ outcome: 'failed', errorClass: 'JOB_ABORTED' }])
})

test('a validation whose keeper was cancelled goes on; with both terminated, a cancel ends the record', async () => {
  const world = await startValidations()
  const alone = await world.submit(candidateRequest({ LOAD_MS: '2000' }))
  await world.reaches(alone, 'loading')
  const keeper = world.client.workflow.getHandle(await keeperOf(world, alone))
  await keeper.cancel()
  expect(await keeper.result()).toBe('open')
  expect((await world.ended(alone)).verdict).toBe('BLESSED')

  const lost = await world.submit(candidateRequest({ LOAD_MS: '60000' }))
  await world.reaches(lost, 'loading')
  for (const owner of [await keeperOf(world, lost), lost]) {
    await world.client.workflow.getHandle(owner).terminate('by an operator')
  }
  expect((await world.store.validations.get(lost))?.status).toBe('running')
  expect(await world.service.cancel(lost)).toMatchObject({ status: 'ended', verdict: 'ABORTED' })
})

test('a validation that an operator resets goes on to its verdict', async () => {
  const world = await startValidations()
  const id = await world.submit(candidateRequest({ LOAD_MS: '2000' }))
  await world.reaches(id, 'loading')
  const handle = world.client.workflow.getHandle(id)
  const { events } = await handle.fetchHistory()
  const decided = events?.findLast(({ workflowTaskCompletedEventAttributes: made }) => made)
  await world.client.workflowService.resetWorkflowExecution({
    namespace: 'default',
    workflowExecution: { workflowId: id, runId: (await handle.describe()).runId },
    workflowTaskFinishEventId: decided!.eventId!,
    requestId: id,
  })
  expect((await world.ended(id)).verdict).toBe('BLESSED')
  await expectClosed(world, id, 'COMPLETED')
  expect((await world.jobs()).filter(({ alive }) => alive)).toEqual([])
})

test('the reaper sweeps the host when its worker starts, and again by itself', async () => {
  let sweeps = 0
  const world = await startValidations({ worker: false })
  await world.startWorker({ sweep: async () => ++sweeps })
  await vi.waitFor(() => expect(sweeps).toBeGreaterThanOrEqual(2), patience)
  const handle = world.client.workflow.getHandle(`reaper-runner-${world.host}-${world.taskQueue}`)
  expect((await handle.describe()).status.name).toBe('RUNNING')
  await handle.terminate()
})

function overriding(runner: Runner, over: (runner: Runner) => Partial<Runner>): Runner {
  const own = over(runner)
  return new Proxy(runner, {
    get: (target, name) => Reflect.get(name in own ? own : target, name),
  })
}
