/**
 * `kill -9` of the worker in every phase of a validation. Proven: the job is gone once a worker is back (30 s on an idle
 * machine; a busy one gets its time, short of any activity's limit), the verdict is right, and no attempt ever has a
 * second job.
 */
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { keeperIdOf } from '../../contracts/names.ts'
import type { ValidationDetailView } from '../../contracts/validation-client.ts'
import type { ValidationPhase } from '../../contracts/validations.ts'
import { type Deployment, makeDeployment, type Part } from '../support/deployment.ts'
import { describeSetups, type Setup } from '../support/setups.ts'
import { candidateRequest, doubling, jobsIn } from '../support/validations.ts'

const soon = { timeout: 120_000, interval: 50 }

interface Site {
  deployment: Deployment
  worker: Part
  jobsRoot: string
  /** The file for which candidates wait that are told to; the test writes it. */
  goOn: string
  validate(request: Record<string, unknown>): Promise<string>
  look(id: string): Promise<ValidationDetailView>
  reaches(id: string, phase: ValidationPhase): Promise<void>
  untilEnded(id: string): Promise<ValidationDetailView>
}

async function startSite(
  env: Record<string, string> = {},
  make: Setup['makeDeployment'] = makeDeployment,
): Promise<Site> {
  const deployment = await make({ env: { PERDURE_RUNNER_HOST: 'kills', ...env } })
  const worker = await deployment.startWorker()
  await deployment.startApi()
  const site: Site = {
    deployment,
    worker,
    jobsRoot: join(deployment.dataDir, 'perdure', 'jobs', 'kills'),
    goOn: join(deployment.dataDir, 'go-on'),
    async validate(request) {
      const answer = await fetch(`${deployment.baseUrl}/v1/validations`, {
        method: 'POST',
        body: JSON.stringify(request),
      })
      const body = (await answer.json()) as { id: string }
      expect(answer.status, JSON.stringify(body)).toBe(202)
      return body.id
    },
    async look(id) {
      const seen = await fetch(`${deployment.baseUrl}/v1/validations/${id}`)
      return (await seen.json()) as ValidationDetailView
    },
    async reaches(id, phase) {
      await vi.waitFor(
        async () => {
          const { progress, verdict } = await site.look(id)
          expect(progress.phase, `${verdict} ${worker.output()}`).toBe(phase)
        },
        { ...soon, interval: 10 },
      )
    },
    untilEnded: (id) =>
      vi.waitFor(async () => {
        const seen = await site.look(id)
        expect(seen.status, JSON.stringify(seen.progress)).toBe('ended')
        return seen
      }, soon),
  }
  return site
}

function expectOneGoodAttempt(ended: ValidationDetailView): void {
  expect(ended.verdict, JSON.stringify(ended)).toBe('BLESSED')
  expect(ended.attempts).toHaveLength(1)
  expect(ended.attempts[0]).toMatchObject({ outcome: 'passed', cleanup: { gone: true } })
}

async function expectJobsGone({ jobsRoot }: Site, count: number): Promise<void> {
  const jobs = await jobsIn(jobsRoot)
  expect(jobs.filter(({ alive }) => alive)).toEqual([])
  expect(jobs).toHaveLength(count)
}

const once = { validationSpec: { numTries: 1 } }
const patient = { numTries: 1, requestTimeoutSeconds: 120, stopGraceSeconds: 100 }

/** Phases with a validation that stays in each of them until `file` exists, however busy the machine is. */
function heldPhases(file: string): [ValidationPhase, Record<string, unknown>][] {
  const held = (what: string, more: Record<string, unknown> = {}) =>
    candidateRequest({ HOLD: what, UNTIL: file }, { validationSpec: patient, ...more })
  const { request } = doubling
  return [
    ['loading', held('ready')],
    ['requests', held('request-', { requests: [request] })],
    ['golden', held('golden-', { goldens: [doubling] })],
    ['load', held('load-', { requests: [request], load: { concurrencies: [2], durationSeconds: 1 } })],
    ['stopping', held('term')],
  ]
}

describeSetups('validations under kills', ({ makeDeployment, test }) => {
  test('BY-08: a worker killed while it loads, asks, compares, measures and stops: the next one goes on with the same jobs', async () => {
    const site = await startSite({}, makeDeployment)
    const phases = heldPhases(site.goOn)
    const ids = await Promise.all(phases.map(([, request]) => site.validate(request)))
    // All of them at one moment, so that one kill interrupts every phase.
    await Promise.all(phases.map(([phase], index) => site.reaches(ids[index]!, phase)))
    await site.worker.kill()
    writeFileSync(site.goOn, '')
    await site.deployment.startWorker()
    for (const ended of await Promise.all(ids.map(site.untilEnded))) expectOneGoodAttempt(ended)
    await expectJobsGone(site, phases.length)
    await site.deployment.expectSettled([])
  }, 300_000)
})

test('BY-08: a worker killed while it starts a job: the next one adopts it', async () => {
  const site = await startSite()
  await site.worker.kill()
  // Its second note of the attempt, which says that the job has started, is never written.
  const victim = site.deployment.launch(
    'test/support/crashing-worker.ts',
    'validations.patchAttempt',
    '2',
    'before',
  )
  const id = await site.validate(candidateRequest({}, once))
  expect(await victim.exited, victim.output()).toBe(null)
  expect(await jobsIn(site.jobsRoot)).toMatchObject([{ alive: true }])
  await site.deployment.startWorker()
  expectOneGoodAttempt(await site.untilEnded(id))
  await expectJobsGone(site, 1)
  await site.deployment.expectSettled([])
}, 300_000)

test('BY-08: killed while it prepares, starts, collects and concludes, one worker after the other: one job, BLESSED', async () => {
  const site = await startSite()
  await site.worker.kill()
  const id = await site.validate(candidateRequest({}, once))
  for (const [method, moment] of [
    ['validations.keepPlan', 'after'],
    ['validations.patchAttempt', 'after'],
    ['validations.keepText', 'before'],
    ['validations.end', 'after'],
  ] as const) {
    const victim = site.deployment.launch('test/support/crashing-worker.ts', method, '1', moment)
    expect(await victim.exited, victim.output()).toBe(null)
  }
  await site.deployment.startWorker()
  expectOneGoodAttempt(await site.untilEnded(id))
  await expectJobsGone(site, 1)
  const handle = (await site.deployment.client()).workflow.getHandle(id)
  expect(await handle.result()).toMatchObject({ verdict: 'BLESSED' })
  await site.deployment.expectSettled([])
}, 300_000)

test('a worker killed while a cancelled validation stops: the next one finishes the stop, ABORTED', async () => {
  const site = await startSite()
  const stubborn = { LOAD_MS: '600000', HOLD: 'term', UNTIL: site.goOn }
  const id = await site.validate(candidateRequest(stubborn, { validationSpec: { stopGraceSeconds: 100 } }))
  await site.reaches(id, 'loading')
  await fetch(`${site.deployment.baseUrl}/v1/validations/${id}/cancel`, { method: 'POST' })
  await site.reaches(id, 'stopping')
  await site.worker.kill()
  writeFileSync(site.goOn, '')
  await site.deployment.startWorker()
  expect((await site.untilEnded(id)).verdict).toBe('ABORTED')
  await expectJobsGone(site, 1)
  await site.deployment.expectSettled([])
}, 300_000)

test('a worker told to stop takes its job along, and the next one tries again', async () => {
  const site = await startSite()
  const id = await site.validate(candidateRequest({ HOLD: 'ready', UNTIL: site.goOn }))
  await site.reaches(id, 'loading')
  expect(await site.worker.stop()).toBe(0)
  await expectJobsGone(site, 1)
  writeFileSync(site.goOn, '')
  await site.deployment.startWorker()
  const ended = await site.untilEnded(id)
  expect(ended.verdict).toBe('BLESSED')
  expect(ended.attempts).toMatchObject([
    { n: 1, outcome: 'failed', errorClass: 'PLATFORM_UNAVAILABLE' },
    { n: 2, outcome: 'passed' },
  ])
  expect(readdirSync(site.jobsRoot)).toHaveLength(2)
  await site.deployment.expectSettled([])
}, 300_000)

test('a host whose worker is away: PLATFORM_UNAVAILABLE after its time, and its job is stopped when a worker is back', async () => {
  const site = await startSite({ PERDURE_RUNNER_WAIT: '3s' })
  const id = await site.validate(candidateRequest({ LOAD_MS: '600000' }, once))
  await site.reaches(id, 'loading')
  // Another host, which can end the validation but not its job.
  await site.deployment.startWorker({ PERDURE_RUNNER_HOST: 'elsewhere' })
  await site.worker.kill()
  const ended = await site.untilEnded(id)
  expect(ended).toMatchObject({
    verdict: 'ERROR',
    error: { class: 'PLATFORM_UNAVAILABLE', message: 'no worker of the host takes work' },
  })
  const blessing = await fetch(`${site.deployment.baseUrl}/v1/blessings/${ended.blessing}`)
  expect(await blessing.json()).toMatchObject({
    binaries: [
      { attempts: [{ errorClass: 'PLATFORM_UNAVAILABLE', outcome: 'failed', cleanup: { gone: false } }] },
    ],
    warnings: [expect.stringContaining('CLEANUP_FAILED')],
  })
  expect(await jobsIn(site.jobsRoot)).toMatchObject([{ alive: true }])
  await site.deployment.startWorker()
  const cleanup = (await site.deployment.client()).workflow.getHandle(`${id}-cleanup-0-1`)
  expect(await cleanup.result()).toEqual({ gone: true })
  await expectJobsGone(site, 1)
  await site.deployment.expectSettled([])
}, 300_000)

test('what a killed worker left of a validation that has ended is stopped when the next one starts', async () => {
  const site = await startSite()
  const id = await site.validate(candidateRequest({ LOAD_MS: '600000' }, once))
  await site.reaches(id, 'loading')
  await site.worker.kill()
  const { workflow } = await site.deployment.client()
  const { runId } = await workflow.getHandle(id).describe()
  for (const owner of [keeperIdOf(id, runId), id]) await workflow.getHandle(owner).terminate('by an operator')
  await fetch(`${site.deployment.baseUrl}/v1/validations/${id}/cancel`, { method: 'POST' })
  expect((await site.untilEnded(id)).verdict).toBe('ABORTED')
  expect(await jobsIn(site.jobsRoot)).toMatchObject([{ alive: true }])
  await site.deployment.startWorker()
  await vi.waitFor(() => expectJobsGone(site, 1), soon)
  await site.deployment.expectSettled([])
}, 300_000)
