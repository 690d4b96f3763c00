/**
 * `kill -9` of the worker in every phase of a validation. Proven: the job is gone within 30 s of a worker being back
 * (what is left of its own run time not counted), the verdict is right, and no attempt ever has a second job.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { keeperIdOf } from '../../contracts/names.ts'
import type { ValidationDetailView } from '../../contracts/validation-client.ts'
import type { ValidationPhase } from '../../contracts/validations.ts'
import { type Deployment, makeDeployment, type Part } from '../support/deployment.ts'
import { describeSetups, type Setup } from '../support/setups.ts'
import { candidateRequest, doubling, jobsIn } from '../support/validations.ts'

const soon = { timeout: 90_000, interval: 50 }
const goneWithinMs = 30_000
/** Of a phase that is to be interrupted. */
const phaseMs = 9_000

interface Site {
  deployment: Deployment
  worker: Part
  jobsRoot: string
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
const slow = { ON_INFER: `slow:${phaseMs}` }
const phases: [ValidationPhase, Record<string, unknown>][] = [
  ['loading', candidateRequest({ LOAD_MS: String(2 * phaseMs) }, once)],
  ['requests', candidateRequest(slow, { ...once, requests: [doubling.request] })],
  ['golden', candidateRequest(slow, { ...once, goldens: [doubling] })],
  [
    'load',
    candidateRequest(
      { ON_INFER: 'slow:50' },
      {
        ...once,
        requests: [doubling.request],
        load: { concurrencies: [2], durationSeconds: phaseMs / 1000 },
      },
    ),
  ],
  [
    'stopping',
    candidateRequest(
      { ON_TERM: 'ignore' },
      { validationSpec: { numTries: 1, stopGraceSeconds: phaseMs / 1000 } },
    ),
  ],
]

describeSetups('validations under kills', ({ makeDeployment, test }) => {
  test('BY-08: a worker killed while it loads, asks, compares, measures and stops: the next one goes on with the same jobs', async () => {
    const site = await startSite({}, makeDeployment)
    const ids = await Promise.all(phases.map(([, request]) => site.validate(request)))
    await Promise.all(phases.map(([phase], index) => site.reaches(ids[index]!, phase)))
    // All of them at this moment, so that one kill interrupts every phase.
    const now = await Promise.all(ids.map((id) => site.look(id)))
    expect(now.map(({ progress }) => progress.phase)).toEqual(phases.map(([phase]) => phase))
    await site.worker.kill()
    const backAt = Date.now()
    await site.deployment.startWorker()
    for (const ended of await Promise.all(ids.map(site.untilEnded))) expectOneGoodAttempt(ended)
    await expectJobsGone(site, phases.length)
    expect(Date.now() - backAt).toBeLessThan(goneWithinMs + 2 * phaseMs)
  }, 180_000)
})

test('BY-08: a worker killed while it starts a job: the next one adopts it', async () => {
  const site = await startSite()
  const id = await site.validate(candidateRequest({}, once))
  await site.reaches(id, 'starting')
  await site.worker.kill()
  const backAt = Date.now()
  await site.deployment.startWorker()
  expectOneGoodAttempt(await site.untilEnded(id))
  await expectJobsGone(site, 1)
  expect(Date.now() - backAt).toBeLessThan(2 * goneWithinMs)
}, 180_000)

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
}, 240_000)

test('a worker killed while a cancelled validation stops: the next one finishes the stop, ABORTED', async () => {
  const site = await startSite()
  const stubborn = { LOAD_MS: '60000', ON_TERM: 'ignore' }
  const id = await site.validate(candidateRequest(stubborn, { validationSpec: { stopGraceSeconds: 4 } }))
  await site.reaches(id, 'loading')
  await fetch(`${site.deployment.baseUrl}/v1/validations/${id}/cancel`, { method: 'POST' })
  await site.reaches(id, 'stopping')
  await site.worker.kill()
  await site.deployment.startWorker()
  expect((await site.untilEnded(id)).verdict).toBe('ABORTED')
  await expectJobsGone(site, 1)
}, 180_000)

test('a worker told to stop takes its job along, and the next one tries again', async () => {
  const site = await startSite()
  const id = await site.validate(candidateRequest({ LOAD_MS: '2000' }))
  await site.reaches(id, 'loading')
  expect(await site.worker.stop()).toBe(0)
  await expectJobsGone(site, 1)
  await site.deployment.startWorker()
  const ended = await site.untilEnded(id)
  expect(ended.verdict).toBe('BLESSED')
  expect(ended.attempts).toMatchObject([
    { n: 1, outcome: 'failed', errorClass: 'PLATFORM_UNAVAILABLE' },
    { n: 2, outcome: 'passed' },
  ])
  expect(readdirSync(site.jobsRoot)).toHaveLength(2)
}, 180_000)

test('a host whose worker is away: PLATFORM_UNAVAILABLE after its time, and its job is stopped when a worker is back', async () => {
  const site = await startSite({ PERDURE_RUNNER_WAIT: '3s' })
  const id = await site.validate(candidateRequest({ LOAD_MS: '60000' }, once))
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
}, 180_000)

test('what a killed worker left of a validation that has ended is stopped when the next one starts', async () => {
  const site = await startSite()
  const id = await site.validate(candidateRequest({ LOAD_MS: '60000' }, once))
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
}, 180_000)
