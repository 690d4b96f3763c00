/** What all runners share, over a platform that fails on purpose: states, waits, the stubborn stop; and job keys. */
import { expect, test } from 'vitest'
import { ServiceError } from '../contracts/errors.ts'
import type { Observation } from '../contracts/validation-record.ts'
import { deadlineIn } from '../protocols/deadline.ts'
import { makeRunners } from '../runners/index.ts'
import { jobKeyOf, jobSpecDigest, labelsOf, launchOf, secretNamesOf } from '../runners/job.ts'
import { makeRunner, type RunnerOptions } from '../runners/lifecycle.ts'
import { maskSecrets, tailOf } from '../runners/output.ts'
import type { JobPlatform } from '../runners/runner.ts'
import { makeStateRecord } from '../runners/states.ts'
import { soon, tinyJob } from './support/runner-jobs.ts'

const endpoint = { kind: 'endpoint', address: '127.0.0.1:1', addresses: {}, lostAfterPolls: 3 } as const
const unavailable = new ServiceError('PLATFORM_UNAVAILABLE', 'no engine')
const running: Observation = { state: 'Running', endpoints: { http: '127.0.0.1:1' } }

/** `looks`: what each look sees, the last one for ever. */
function scripted(
  looks: (Observation | undefined | Error)[],
  over: Partial<JobPlatform> = {},
  options: RunnerOptions = {},
) {
  const counts = { looks: 0, removals: 0, closed: 0 }
  const platform: JobPlatform = {
    create: async () => ({
      jobKey: 'k',
      platformRef: 'r',
      createdAt: new Date().toISOString(),
      adopted: false,
    }),
    async inspect() {
      const seen = looks[Math.min(counts.looks++, looks.length - 1)]
      if (seen instanceof Error) throw seen
      return seen
    },
    logs: async () => '',
    async remove() {
      counts.removals++
      return { gone: true, killed: false, leftovers: [] }
    },
    removeAgainMs: () => 1,
    close() {
      counts.closed++
    },
    ...over,
  }
  return { runner: makeRunner(tinyJob(endpoint), platform, { pollIntervalMs: 5, ...options }), counts }
}

test('a wait puts up with two API errors in a row, not with three', async () => {
  const brief = scripted([
    unavailable,
    unavailable,
    { state: 'Scheduled' },
    unavailable,
    unavailable,
    running,
  ])
  await brief.runner.start()
  await brief.runner.waitUntilRunning(soon())
  const long = scripted([unavailable])
  await long.runner.start()
  await expect(long.runner.waitUntilRunning(soon())).rejects.toBe(unavailable)
  expect(long.counts.looks).toBe(3)
})

test('BUG-14: running without an endpoint is looked at again', async () => {
  const { runner, counts } = scripted([{ state: 'Running' }, { state: 'Running' }, running])
  await runner.start()
  expect((await runner.waitUntilRunning(soon())).endpoint).toBe('127.0.0.1:1')
  expect(counts.looks).toBe(3)
})

test('a job that can never run ends the wait with its class', async () => {
  const { runner } = scripted([{ state: 'Scheduled', failure: 'IMAGE_PULL_FAILED', message: 'denied' }])
  await runner.start()
  await expect(runner.waitUntilRunning(soon())).rejects.toMatchObject({
    code: 'IMAGE_PULL_FAILED',
    message: expect.stringContaining('denied'),
  })
})

test('the deadline ends the wait with what was seen last', async () => {
  const { runner, counts } = scripted([{ state: 'Scheduled', reason: 'ContainerCreating' }])
  await runner.start()
  await expect(runner.waitUntilRunning(deadlineIn(30))).rejects.toMatchObject({
    code: 'DEADLINE_EXCEEDED',
    message: expect.stringContaining('ContainerCreating'),
  })
  expect(counts.looks).toBeGreaterThan(1)
})

test('BUG-09: time in which the platform pulls is not counted, but has a budget of its own', async () => {
  const pulling: Observation = { state: 'Scheduled', pulling: true }
  let began = Number.POSITIVE_INFINITY
  const slow = scripted([pulling], {
    inspect: async () => (performance.now() - began < 500 ? pulling : running),
  })
  await slow.runner.start()
  began = performance.now()
  const { pullMs } = await slow.runner.waitUntilRunning(deadlineIn(50), { pullBudgetMs: 60_000 })
  expect(pullMs).toBeGreaterThan(200)
  const endless = scripted([pulling])
  await endless.runner.start()
  await expect(endless.runner.waitUntilRunning(soon(), { pullBudgetMs: 50 })).rejects.toMatchObject({
    code: 'IMAGE_PULL_FAILED',
  })
})

test('BUG-05: a cancelled wait throws the cancellation', async () => {
  const { runner } = scripted([{ state: 'Scheduled' }])
  await runner.start()
  const controller = new AbortController()
  const waiting = runner.waitUntilRunning(soon(), { signal: controller.signal })
  controller.abort(new Error('cancelled'))
  await expect(waiting).rejects.toThrow('cancelled')
})

test('a job that was started elsewhere and is not there any more was lost; one that never was is not started', async () => {
  const lost = scripted([undefined], {}, { from: 'Scheduled' })
  await expect(lost.runner.waitUntilRunning(soon())).rejects.toMatchObject({ code: 'JOB_ABORTED' })
  const never = scripted([undefined])
  await expect(never.runner.waitUntilRunning(soon())).rejects.toMatchObject({ code: 'NOT_STARTED' })
})

test('a start that failed is not started again, and its stop still runs', async () => {
  const { runner, counts } = scripted([undefined], {
    create: async () => {
      throw unavailable
    },
  })
  await expect(runner.start()).rejects.toBe(unavailable)
  await expect(runner.start()).rejects.toMatchObject({ code: 'ALREADY_STARTED' })
  expect(await runner.stop(1, soon())).toMatchObject({ gone: true })
  expect(counts.removals).toBe(1)
})

test('BUG-02: stop never throws: it tries again, reports the last error, and lets go of connections', async () => {
  let round = 0
  const flaky = scripted([running], {
    async remove() {
      if (++round < 3) throw unavailable
      return { gone: true, killed: true, leftovers: [] }
    },
  })
  await flaky.runner.start()
  expect(await flaky.runner.stop(1, soon())).toEqual({ gone: true, attempts: 3, killed: true, leftovers: [] })
  expect(flaky.counts.closed).toBe(1)
  const stuck = scripted([running], {
    remove: async () => ({ gone: false, killed: true, leftovers: ['process 7'] }),
  })
  await stuck.runner.start()
  expect(await stuck.runner.stop(1, deadlineIn(20))).toMatchObject({
    gone: false,
    killed: true,
    lastError: 'still there: process 7',
    leftovers: ['process 7'],
  })
  expect(stuck.runner.state).toBe('End')
  expect(stuck.counts.closed).toBe(1)
})

test('BUG-04: logs never throw; what never started has none', async () => {
  const broken = scripted([running], { logs: () => Promise.reject(unavailable) })
  expect(await broken.runner.getLogs(10)).toEqual({
    text: null,
    reason: 'the logs cannot be read: no engine',
  })
  const none = scripted([running], { logs: async () => undefined })
  expect(await none.runner.getLogs(10)).toEqual({ text: null, reason: 'the job never started' })
})

test('only the transitions of the table are legal', () => {
  const record = makeStateRecord('Initial')
  expect(() => record.to('Running', 'x')).toThrow('a job cannot go from Initial to Running')
  record.to('Scheduled', 'x')
  record.to('Aborted', 'x')
  expect(() => record.to('Scheduled', 'x')).toThrow(expect.objectContaining({ name: 'IllegalStateError' }))
  record.to('End', 'x')
  record.to('End', 'again is no step')
  expect(record.transitions).toHaveLength(4)
})

test('the door makes what is offered, refuses the rest, and sweeps each platform for itself', async () => {
  const runners = makeRunners({ docker: { baseUrl: 'unix:///nowhere/docker.sock' } })
  expect(runners.of(tinyJob(endpoint)).state).toBe('Initial')
  expect(() => runners.of(tinyJob({ kind: 'process' }))).toThrow(
    expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringContaining('process') }),
  )
  expect(await runners.sweep(new Date())).toMatchObject({ docker: { removed: [], failed: [{ job: '*' }] } })
  const { binary, platform } = tinyJob({ kind: 'process' }, 'good', { binary: { command: ['serve'] } })
  await expect(runners.resolveImage(binary, platform, soon())).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
  })
  await expect(runners.require(platform)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  const offered = makeRunners({ process: { root: '/nowhere' } })
  expect(await offered.resolveImage(binary, platform, soon())).toMatchObject({ digestKind: 'command' })
})

test('a job key depends on workflow, first run, binary and attempt, and on nothing else', () => {
  const ref = { workflowId: 'validation-1', runId: 'r', binary: 0, attempt: 1 }
  expect(jobKeyOf(ref)).toMatch(/^[a-z2-7]{26}$/)
  expect(jobKeyOf({ ...ref })).toBe(jobKeyOf(ref))
  const others = [
    { ...ref, workflowId: 'validation-2' },
    { ...ref, runId: 's' },
    { ...ref, binary: 1 },
    { ...ref, attempt: 2 },
  ].map(jobKeyOf)
  expect(new Set([jobKeyOf(ref), ...others]).size).toBe(5)
})

test('two deliveries of one start agree on the spec digest, whatever their secrets and expiry', () => {
  const job = tinyJob(endpoint)
  expect(jobSpecDigest({ ...job, expiresAt: 'later', secrets: { A: 'b' }, host: 'other' })).toBe(
    jobSpecDigest(job),
  )
  expect(jobSpecDigest({ ...job, limits: { cpus: 2 } })).not.toBe(jobSpecDigest(job))
  expect(Object.values(labelsOf(job)).every((value) => typeof value === 'string')).toBe(true)
})

test('variables expand as on Kubernetes, secrets do not', () => {
  const job = tinyJob(endpoint, 'good', {
    secrets: { KEY: 'a$(PORT)b' },
    binary: {
      command: ['serve', '--port=$(PORT)'],
      args: ['$(MODEL_PATH)', '$(date)', '$$(PORT)'],
      env: [{ name: 'API_KEY', valueFrom: { secret: 'KEY' } }, { name: 'EMPTY' }],
    },
  })
  const launch = launchOf(job, { ports: { http: 7 }, modelPath: '/m' })
  expect(launch.command).toEqual(['serve', '--port=7'])
  expect(launch.args).toEqual(['/m', '$(date)', '$(PORT)'])
  expect(launch.env).toMatchObject({ API_KEY: 'a$(PORT)b', EMPTY: '', PORT: '7', MODEL_NAME: 'tiny' })
  expect(secretNamesOf(job.binary)).toEqual(['KEY'])
})

test('output is cut at a character and masked', () => {
  expect(tailOf(Buffer.from('aäb'), 2)).toBe('b')
  expect(tailOf(Buffer.from('abc'), 10)).toBe('abc')
  expect(
    maskSecrets('x hunter2-long hunter2 abc', { secrets: { A: 'hunter2', B: 'hunter2-long', C: 'abc' } }),
  ).toBe('x *** *** abc')
})
