/** Validations from request to blessing: real Temporal, real store, the process runner (specification, section 8: FL, BY, BUG). */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { digestFiles } from '../protocols/digest.ts'
import type { StoredValidation } from '../records/store.ts'
import { makeRunners } from '../runners/index.ts'
import { temporaryFolder } from './support/folders.ts'
import { recordHistory } from './support/in-process.ts'
import {
  candidateRequest,
  doubling,
  patience,
  startValidations,
  type Validations,
} from './support/validations.ts'

const requests = [doubling.request, doubling.request]
const goldens = [doubling]

async function blessingOf({ store }: Validations, { blessingId }: StoredValidation) {
  const stored = await store.validations.blessing(blessingId ?? '')
  expect(stored).toBeDefined()
  return stored!.blessing
}

/** The record ends a moment before its workflow. */
async function expectCompleted({ client }: Validations, id: string): Promise<void> {
  await vi.waitFor(async () => {
    expect((await client.workflow.getHandle(id).describe()).status.name).toBe('COMPLETED')
  }, patience)
}

async function expectNothingLeft({ jobs }: Validations): Promise<void> {
  expect((await jobs()).filter(({ alive }) => alive)).toEqual([])
}

test('FL-01 FL-04 FL-05: a candidate that loads is BLESSED without a single request and without warm-up', async () => {
  const calls = join(temporaryFolder('calls'), 'calls')
  const world = await startValidations()
  const id = await world.submit(candidateRequest({ CALLS: calls }))
  const record = await world.ended(id)
  expect(record, JSON.stringify(await world.attempts(id))).toMatchObject({ verdict: 'BLESSED', error: null })
  const blessing = await blessingOf(world, record)
  expect(blessing).toMatchObject({
    verdict: 'BLESSED',
    mode: 'LOAD_ONLY',
    workflowId: id,
    warnings: [],
    artifacts: {},
  })
  const [attempt] = blessing.binaries[0]!.attempts
  expect(attempt).toMatchObject({ n: 1, outcome: 'passed', cleanup: { gone: true } })
  expect(attempt?.transitions.map(({ to }) => to)).toEqual(['Initial', 'Scheduled', 'Running', 'End'])
  expect(attempt?.timings.loadMs).toBeGreaterThanOrEqual(0)
  expect(() => readFileSync(calls)).toThrow()
  await expectCompleted(world, id)
  await expectNothingLeft(world)
  await recordHistory(world.client, id, 'validation-load-only-kept')
})

test('FL-06: runner wait, model wait, requests, goldens, load, memory, in this order; then collect and stop', async () => {
  const world = await startValidations()
  const id = await world.submit(
    candidateRequest(
      {},
      {
        requests,
        goldens,
        load: { concurrencies: [1, 2], requests: 10 },
        gates: { maxP99Ms: 20_000, maxPeakMemoryBytes: 4_000_000_000 },
      },
    ),
  )
  const record = await world.ended(id)
  const blessing = await blessingOf(world, record)
  expect(blessing, JSON.stringify(blessing)).toMatchObject({ verdict: 'BLESSED', mode: 'LOAD_AND_QUERY' })
  expect(blessing.results[0]).toMatchObject({
    requests: { sent: 2, ok: 2, failed: [] },
    golden: [{ pass: true }],
    load: [
      { concurrency: 1, n: 10 },
      { concurrency: 2, n: 10 },
    ],
  })
  expect(blessing.results[0]?.gates?.map(({ name, pass }) => [name, pass])).toEqual([
    ['maxP99Ms', true],
    ['maxErrorRate', true],
    ['maxPeakMemoryBytes', true],
  ])
  expect(await world.steps(id)).toEqual([
    'openValidation',
    'prepareValidation',
    'resolveImage',
    'startJob',
    'waitRunning',
    'waitModelReady',
    'runRequests',
    'runGolden',
    'runLoad',
    'judgeMemory',
    'collectJob',
    'stopJob',
    'digestModel',
    'writeBlessing',
  ])
  await expectNothingLeft(world)
  await recordHistory(world.client, id, 'validation-kept')
})

test('FL-02 BUG-03 BUG-08 BY-02: every attempt dies: NOT_BLESSED, a completed workflow, cause and logs in the record', async () => {
  const world = await startValidations()
  const retryDelay = { initialSeconds: 1, maxSeconds: 1 }
  const id = await world.submit(
    candidateRequest({ LOAD_MS: '60000', EXIT_AFTER_MS: '500' }, { validationSpec: { retryDelay } }),
  )
  await world.reaches(id, 'waiting')
  const record = await world.ended(id)
  expect(record).toMatchObject({ verdict: 'NOT_BLESSED', error: null })
  const { attempts } = (await blessingOf(world, record)).binaries[0]!
  expect(attempts).toHaveLength(2)
  expect(new Set(attempts.map(({ jobKey }) => jobKey)).size).toBe(2)
  for (const attempt of attempts) {
    expect(attempt).toMatchObject({
      outcome: 'failed',
      errorClass: 'JOB_ABORTED',
      exitCode: 7,
      cleanup: { gone: true },
    })
    expect(attempt.message).toContain('exited with code 7')
    expect(attempt.logsTail).toContain('candidate on port')
    expect(await world.store.validations.text(id, attempt.logsRef ?? '')).toContain('candidate on port')
  }
  await expectCompleted(world, id)
  await recordHistory(world.client, id, 'validation-not-blessed-kept')
})

test('FL-07: a job that dies while the runner waits fails the attempt', async () => {
  const world = await startValidations()
  const id = await world.submit(
    candidateRequest({}, { binary: { command: [process.execPath, '-e', 'process.exit(3)'] } }),
  )
  const { attempts } = (await blessingOf(world, await world.ended(id))).binaries[0]!
  expect(attempts.map(({ errorClass, exitCode }) => [errorClass, exitCode])).toEqual([
    ['JOB_ABORTED', 3],
    ['JOB_ABORTED', 3],
  ])
})

test('FL-08: a model that is not ready in time fails the attempt, after the runner’s wait', async () => {
  const world = await startValidations()
  const id = await world.submit(
    candidateRequest({ LOAD_MS: '60000' }, { validationSpec: { numTries: 1, maxLoadingTimeSeconds: 1 } }),
  )
  const record = await world.ended(id)
  expect(record.verdict).toBe('NOT_BLESSED')
  const [attempt] = (await blessingOf(world, record)).binaries[0]!.attempts
  expect(attempt).toMatchObject({ outcome: 'failed', errorClass: 'DEADLINE_EXCEEDED' })
  expect(attempt?.transitions.map(({ to }) => to)).toEqual(['Initial', 'Scheduled', 'Running', 'End'])
  await expectNothingLeft(world)
})

test('FL-09: an error while sending fails the attempt, after both waits, and is not tried again', async () => {
  const world = await startValidations()
  const id = await world.submit(candidateRequest({ ON_INFER: 'error' }, { requests }))
  const record = await world.ended(id)
  expect(record.verdict).toBe('NOT_BLESSED')
  const blessing = await blessingOf(world, record)
  expect(blessing.binaries[0]?.attempts).toHaveLength(1)
  expect(blessing.binaries[0]?.attempts[0]).toMatchObject({ errorClass: 'QUERY_FAILED' })
  expect(blessing.binaries[0]?.attempts[0]?.message).toContain('the model fell over')
  expect(blessing.results[0]?.requests).toMatchObject({ sent: 2, ok: 0 })
  expect((await world.steps(id)).filter((step) => step.startsWith('wait'))).toEqual([
    'waitRunning',
    'waitModelReady',
  ])
})

test('FL-11 BUG-12: the record names model, command and spec by digest, and expires; the spec stays with the validation', async () => {
  const folder = temporaryFolder('model')
  writeFileSync(join(folder, 'weights'), '1 2 3')
  const world = await startValidations()
  const given = candidateRequest({}, { model: { path: folder }, validationSpec: { blessingTtlSeconds: 60 } })
  const record = await world.ended(await world.submit(given))
  const blessing = await blessingOf(world, record)
  expect(blessing.model).toEqual({
    uri: folder,
    digest: await digestFiles(folder),
    digestKind: 'manifest',
    name: 'candidate',
  })
  expect(blessing.binaries[0]).toMatchObject({
    digestKind: 'command',
    imageDigest: expect.stringMatching(/^sha256:/),
  })
  expect(blessing.spec.digest).toMatch(/^sha256:[0-9a-f]{64}$/)
  expect(Date.parse(blessing.expiresAt) - Date.parse(blessing.createdAt)).toBe(60_000)
  expect(JSON.parse(record.spec)).toMatchObject({
    model: { path: folder },
    servingSpec: given.servingSpec as object,
  })
})

test('BUG-11: a golden mismatch starts no second job', async () => {
  const world = await startValidations()
  const wrong = {
    ...doubling,
    id: 'wrong',
    outputs: { doubled: { data: [2, 5], shape: [2], datatype: 'FP64' } },
  }
  const id = await world.submit(candidateRequest({}, { goldens: [doubling, wrong] }))
  const blessing = await blessingOf(world, await world.ended(id))
  expect(blessing.verdict).toBe('NOT_BLESSED')
  expect(blessing.binaries[0]?.attempts).toHaveLength(1)
  expect(blessing.binaries[0]?.attempts[0]).toMatchObject({ errorClass: 'GOLDEN_MISMATCH' })
  expect(blessing.results[0]?.golden).toMatchObject([
    { pass: true },
    { id: 'wrong', pass: false, maxAbsDiff: 1 },
  ])
  expect(await world.jobs()).toHaveLength(1)
})

test('a closed gate names itself, its limit and the measured value', async () => {
  const world = await startValidations()
  const id = await world.submit(
    candidateRequest(
      { ON_INFER: 'slow:20' },
      { requests, load: { concurrencies: [1], requests: 5 }, gates: { maxP50Ms: 1 } },
    ),
  )
  const blessing = await blessingOf(world, await world.ended(id))
  expect(blessing.verdict).toBe('NOT_BLESSED')
  expect(blessing.binaries[0]?.attempts[0]).toMatchObject({ errorClass: 'LATENCY_GATE' })
  expect(blessing.binaries[0]?.attempts[0]?.message).toMatch(/maxP50Ms: measured [\d.]+, limit 1/)
})

test('a regression is measured against an earlier blessing; an unknown one is CONFIG_INVALID before any start', async () => {
  const world = await startValidations()
  const load = { concurrencies: [1], requests: 10 }
  const first = await world.ended(await world.submit(candidateRequest({}, { requests, load })))
  expect(first.verdict).toBe('BLESSED')
  const against = (blessing: string | null) => ({ maxRegression: { blessing, p50: 1.5 } })
  const slow = await world.ended(
    await world.submit(
      candidateRequest({ ON_INFER: 'slow:200' }, { requests, load, gates: against(first.blessingId) }),
    ),
  )
  expect(slow.verdict).toBe('NOT_BLESSED')
  const { gates } = (await blessingOf(world, slow)).results[0]!
  expect(gates?.find(({ name }) => name === 'maxRegression.p50')).toMatchObject({ pass: false, limit: 1.5 })
  const unknown = await world.ended(
    await world.submit(candidateRequest({}, { requests, load, gates: against('nobody') })),
  )
  expect(unknown).toMatchObject({ verdict: 'ERROR', error: { class: 'CONFIG_INVALID' } })
  expect(unknown.error?.message).toContain('gates.maxRegression.blessing')
})

test('BY-03: a server that says it cannot load, and never opens its port, fails by its own words', async () => {
  const world = await startValidations()
  const id = await world.submit(
    candidateRequest(
      { ON_INFER: 'no-port', SAY: 'worker died: cannot load model' },
      {
        binary: {
          kind: 'custom',
          readiness: { http: { path: '/ready' }, failurePattern: 'cannot load model' },
        },
      },
    ),
  )
  const blessing = await blessingOf(world, await world.ended(id))
  expect(blessing.verdict).toBe('NOT_BLESSED')
  const [attempt] = blessing.binaries[0]!.attempts
  expect(attempt).toMatchObject({
    errorClass: 'MODEL_LOAD_FAILED',
    message: 'worker died: cannot load model',
  })
  expect(attempt?.logsTail).toContain('worker died')
  await expectNothingLeft(world)
})

test('a model that cannot be read is CONFIG_INVALID with its field, before anything is launched', async () => {
  const world = await startValidations()
  const id = await world.submit(candidateRequest({}, { model: { path: '/nowhere/at/all' } }))
  const record = await world.ended(id)
  expect(record).toMatchObject({
    verdict: 'ERROR',
    error: { class: 'CONFIG_INVALID', message: 'model.path: cannot be read' },
  })
  expect(await world.jobs()).toEqual([])
  expect(await world.steps(id)).not.toContain('startJob')
})

// Issue 11, item 6.
test('a cluster that cannot be used ends a validation before anything is started', async () => {
  const world = await startValidations({ worker: false })
  const refused = join(temporaryFolder('kubeconfig'), 'config')
  const cluster = { name: 'c', cluster: { server: 'http://127.0.0.1:1' } }
  const context = { name: 'c', context: { cluster: 'c', user: 'u' } }
  writeFileSync(
    refused,
    JSON.stringify({
      'current-context': 'c',
      clusters: [cluster],
      contexts: [context],
      users: [{ name: 'u', user: {} }],
    }),
  )
  const clusters = { missing: '/nowhere/kubeconfig', plain: refused }
  await world.startWorker({ runners: makeRunners({ kubernetes: { clusters } }) })
  for (const name of [...Object.keys(clusters), 'unknown', 'constructor']) {
    const id = await world.submit({
      model: { uri: 's3://models/tiny', digest: 'v1' },
      servingSpec: {
        platform: { kind: 'kubernetes', cluster: name },
        binary: { kind: 'open-inference-v2', image: 'tiny:1' },
      },
    })
    expect(await world.ended(id), name).toMatchObject({
      verdict: 'ERROR',
      error: { class: 'CONFIG_INVALID', message: expect.stringContaining('servingSpec.platform.cluster: ') },
    })
    expect(await world.steps(id)).not.toContain('startJob')
  }
})

test('a command that cannot be run is CONFIG_INVALID, tried once', async () => {
  const world = await startValidations()
  const id = await world.submit(candidateRequest({}, { binary: { command: ['/no/such/command'] } }))
  const record = await world.ended(id)
  expect(record.verdict).toBe('ERROR')
  const { attempts } = (await blessingOf(world, record)).binaries[0]!
  expect(attempts).toMatchObject([{ n: 1, errorClass: 'CONFIG_INVALID' }])
  expect(attempts[0]?.message).toContain('servingSpec.binary.command')
})

test('a model that changes while it is validated is never blessed', async () => {
  const folder = temporaryFolder('model')
  writeFileSync(join(folder, 'weights'), '1')
  const world = await startValidations()
  const id = await world.submit(candidateRequest({ LOAD_MS: '1500' }, { model: { path: folder } }))
  await world.reaches(id, 'loading')
  appendFileSync(join(folder, 'weights'), '2')
  expect(await world.ended(id)).toMatchObject({ verdict: 'ERROR', error: { class: 'MODEL_CHANGED' } })
})

test('warm-up requests of a blessed model are kept as they are sent', async () => {
  const folder = temporaryFolder('examples')
  const file = join(folder, 'examples.jsonl')
  writeFileSync(file, `${JSON.stringify(doubling.request)}\n`.repeat(3))
  const world = await startValidations()
  const id = await world.submit(
    candidateRequest(
      {},
      {
        examples: { splits: { eval: file } },
        requestSpec: { kind: 'open-inference-v2', numExamples: 2, makeWarmup: true },
      },
    ),
  )
  const blessing = await blessingOf(world, await world.ended(id))
  expect(blessing).toMatchObject({ verdict: 'BLESSED', artifacts: { warmupRef: 'warmup-requests.jsonl' } })
  const lines = (await world.store.validations.text(id, 'warmup-requests.jsonl'))!.trim().split('\n')
  expect(lines.map((line) => JSON.parse(line))).toMatchObject([
    { method: 'POST', path: '/v2/models/candidate/infer' },
    { method: 'POST', path: '/v2/models/candidate/infer' },
  ])
})

test('a second attempt that passes is a blessing, and the first one stays in the record', async () => {
  const marker = join(temporaryFolder('marker'), 'been-here')
  const world = await startValidations()
  const once = `const fs = require('node:fs'); if (!fs.existsSync('${marker}')) { fs.writeFileSync('${marker}', ''); process.exit(5) }`
  const script = new URL('./servers/candidate.mjs', import.meta.url).href
  const command = [process.execPath, '-e', `${once}; import('${script}')`]
  const blessing = await blessingOf(
    world,
    await world.ended(await world.submit(candidateRequest({}, { binary: { command } }))),
  )
  expect(blessing.verdict).toBe('BLESSED')
  expect(blessing.binaries[0]?.attempts.map(({ outcome, exitCode }) => [outcome, exitCode])).toEqual([
    ['failed', 5],
    ['passed', undefined],
  ])
})

test('an endpoint that is up already is probed and left alone', async () => {
  const { startScriptedServer } = await import('./support/scripted-server.ts')
  const world = await startValidations()
  const server = await startScriptedServer((call, response) => {
    if (call.path.endsWith('/ready')) return void response.writeHead(200).end('{}')
    const { id } = JSON.parse(call.body) as { id: string }
    const output = { name: 'doubled', shape: [2], datatype: 'FP64', data: [2, 4] }
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ id, outputs: [output] }))
  })
  try {
    const id = await world.submit({
      model: { uri: 's3://models/doubling', digest: 'sha256:abc' },
      servingSpec: {
        modelName: 'm',
        binary: { kind: 'open-inference-v2' },
        platform: { kind: 'endpoint', address: server.address },
      },
      goldens,
    })
    const blessing = await blessingOf(world, await world.ended(id))
    expect(blessing, JSON.stringify(blessing)).toMatchObject({
      verdict: 'BLESSED',
      model: { digest: 'sha256:abc', digestKind: 'given' },
      binaries: [{ platform: 'endpoint', digestKind: 'none' }],
    })
    expect((await fetch(`http://${server.address}/v2/models/m/ready`)).status).toBe(200)
  } finally {
    await server.close()
  }
})

test('a schedule repeats a validation with its spec, until it is told not to', async () => {
  const world = await startValidations()
  const id = await world.submit(candidateRequest())
  await world.ended(id)
  await world.service.repeat(id, { every: '1s' })
  const again = await vi.waitFor(async () => {
    const [newest] = await world.store.validations.list({ limit: 1 })
    expect(newest?.template).toBe(id)
    return newest!
  }, patience)
  expect(await world.service.schedule(id)).toMatchObject({ validation: id, every: '1s' })
  expect(await world.service.stopRepeating(id)).toBe(true)
  expect(await world.service.stopRepeating(id)).toBe(false)
  const record = await world.ended(again.id)
  expect(record).toMatchObject({ verdict: 'BLESSED', spec: (await world.store.validations.get(id))?.spec })
  await vi.waitFor(async () => {
    for (const one of await world.store.validations.list({ limit: 10 })) expect(one.status).toBe('ended')
  }, patience)
})

test('a validation that was never stored ends by itself, and its id can no longer be accepted', async () => {
  const world = await startValidations()
  const id = `validation-${crypto.randomUUID()}`
  const handle = await world.client.workflow.start('validation', {
    taskQueue: `${world.taskQueue}-guard`,
    workflowId: id,
    args: [{ queue: `${world.taskQueue}-validation` }],
  })
  expect(await handle.result()).toEqual({ verdict: 'ERROR', blessing: null })
  expect(await world.store.validations.create({ id, modelName: 'late', spec: '{}' })).toBe(false)
}, 90_000)

test('after continue-as-new the count of attempts goes on', async () => {
  const world = await startValidations()
  const id = `validation-${crypto.randomUUID()}`
  const budgets = {
    numTries: 2,
    loadingMs: 20_000,
    pullMs: 10_000,
    pollIntervalMs: 200,
    readyStreak: 2,
    requestTimeoutMs: 5_000,
    queryMs: 10_000,
    stopGraceSeconds: 1,
    stopMs: 20_000,
    firstDelayMs: 10,
    longestDelayMs: 20,
  }
  const { parseValidation } = await import('../contracts/validation.ts')
  const { spec } = parseValidation(candidateRequest())
  await world.store.validations.create({ id, modelName: 'candidate', spec: JSON.stringify(spec) })
  const first = { n: 1, outcome: 'failed', errorClass: 'JOB_ABORTED', cleanup: { gone: true, attempts: 1 } }
  const modelDigest = await digestFiles(spec!.model.path!)
  const handle = await world.client.workflow.start('validation', {
    taskQueue: `${world.taskQueue}-guard`,
    workflowId: id,
    args: [
      {
        queue: `${world.taskQueue}-validation`,
        resume: {
          opened: {
            outcome: 'open',
            host: world.host,
            runnerQueue: `runner-${world.host}-${world.taskQueue}`,
          },
          plan: {
            modelDigest,
            digestKind: 'manifest',
            binaries: ['candidate'],
            probes: { requests: false, golden: false, load: false, memory: false },
            budgets,
            retryOn: [],
          },
          binaries: [{ attempts: [first] }],
        },
      },
    ],
  })
  expect(await handle.result()).toMatchObject({ verdict: 'BLESSED' })
  expect(await world.attempts(id)).toMatchObject([{ n: 2, outcome: 'passed' }])
})
