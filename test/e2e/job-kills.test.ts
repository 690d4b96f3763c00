/**
 * `kill -9` of the worker at every point of a provider job. The provider counts exactly one creation, unless the crash
 * falls between its answer and our storing it: then one more, and the provider's own deadline bounds the first.
 */
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import type { Scenario } from '../../dev/twins/job.ts'
import { startReplicateTwin } from '../../dev/twins/replicate.ts'
import { startRunpodTwin } from '../../dev/twins/runpod.ts'
import { makeDeployment } from '../support/deployment.ts'

const soon = { timeout: 60_000, interval: 50 }
const points = ['take', 'beginJob', 'jobCreated', 'transition', 'cancelHeard'] as const

const providers = [
  {
    name: 'replicate',
    create: 'create',
    async start(scenario: Scenario) {
      const twin = await startReplicateTwin({ scenario, apiKey: 'k' })
      const env = { ML_PLATFORM: 'replicate', REPLICATE_ADDRESS: twin.createUrl, REPLICATE_APIKEY: 'k' }
      return { twin, env }
    },
  },
  {
    name: 'runpod',
    create: 'run',
    async start(scenario: Scenario) {
      const twin = await startRunpodTwin({ scenario, apiKey: 'k' })
      const env = {
        ML_PLATFORM: 'runpod',
        RUNPOD_ADDRESS: twin.baseUrl,
        RUNPOD_APIKEY: 'k',
        RUNPOD_MODEL_ID: 'e1',
      }
      return { twin, env }
    },
  },
]

describe.each(providers)('$name', ({ create, start }) => {
  async function stage(scenario: Scenario) {
    const { twin, env } = await start(scenario)
    onTestFinished(() => twin.close())
    const timeouts = { TASK_TIMEOUT: '60', REPLICATE_REQUEST_TIMEOUT: '60', RUNPOD_REQUEST_TIMEOUT: '60' }
    const deployment = await makeDeployment({ env: { ...env, ...timeouts } })
    const crashing = (method: string, moment = 'after') =>
      deployment.launch('test/support/crashing-worker.ts', method, '1', moment)
    const cancel = (id: string) => fetch(`${deployment.baseUrl}/cancel/${id}`, { method: 'POST' })
    return { twin, deployment, crashing, cancel }
  }

  test.each(points.slice(0, 4))(
    '6: a worker killed right after its %s makes no second job',
    async (point) => {
      const { twin, deployment, crashing } = await stage({ runMs: 500, output: 'done' })
      const victim = crashing(point)
      await deployment.startApi()
      await deployment.noteStatuses()
      const { id } = await deployment.submit(1)
      expect(await victim.exited).not.toBe(0)
      await deployment.startWorker()
      await deployment.expectSettled([id])
      expect(await deployment.task(id)).toMatchObject({ status: 'succeeded', outputs: { output: 'done' } })
      expect(twin.callsOf(create)).toHaveLength(1)
      expect(twin.jobs).toHaveLength(1)
    },
  )

  test('a crash between the provider’s answer and our storing it makes one more job, and both have a deadline', async () => {
    const { twin, deployment, crashing } = await stage({ runMs: 500, output: 'done' })
    const victim = crashing('jobCreated', 'before')
    await deployment.startApi()
    await deployment.noteStatuses()
    const { id } = await deployment.submit(1)
    await victim.exited
    await deployment.startWorker()
    await deployment.expectSettled([id])
    expect((await deployment.task(id)).status).toBe('succeeded')
    const creations = twin.callsOf(create)
    expect(creations).toHaveLength(2)
    for (const { headers, body } of creations) {
      expect('cancel-after' in headers || body.includes('"executionTimeout"')).toBe(true)
    }
  })

  test('6: a worker killed while its job runs is followed by one that polls the same job', async () => {
    const { twin, deployment } = await stage({ runMs: 6_000, output: 'done' })
    const victim = await deployment.startWorker()
    await deployment.startApi()
    await deployment.noteStatuses()
    const ids = await Promise.all([1, 2, 3, 4].map(async (n) => (await deployment.submit(n)).id))
    await vi.waitFor(async () => {
      expect(await deployment.query('select id from jobs where handle is not null')).toHaveLength(4)
    }, soon)
    await victim.kill()
    await deployment.startWorker()
    await deployment.expectSettled(ids)
    for (const id of ids) expect((await deployment.task(id)).status).toBe('succeeded')
    expect(twin.callsOf(create)).toHaveLength(4)
  })

  test('a worker killed right after a cancel was heard leaves nothing due and no job alive', async () => {
    const { twin, deployment, crashing, cancel } = await stage({ end: 'never' })
    const victim = crashing('cancelHeard')
    await deployment.startApi()
    await deployment.noteStatuses()
    const { id } = await deployment.submit(1)
    await vi.waitFor(() => expect(twin.jobs[0]?.phase).toBe('running'), soon)
    expect((await cancel(id)).status).toBe(200)
    await victim.exited
    await deployment.startWorker()
    await deployment.expectSettled([id])
    expect(twin.jobs.map(({ phase }) => phase)).toEqual(['canceled'])
    expect(twin.callsOf('cancel').length).toBeLessThanOrEqual(2)
    expect(await deployment.query('select id from jobs where cancel_due = 1')).toEqual([])
  })

  test('a cancel given while no worker lives reaches the provider once one does', async () => {
    const { twin, deployment, crashing, cancel } = await stage({ end: 'never' })
    const victim = crashing('jobCreated')
    await deployment.startApi()
    await deployment.noteStatuses()
    const { id } = await deployment.submit(1)
    await victim.exited
    expect((await cancel(id)).status).toBe(200)
    expect((await deployment.task(id)).status).toBe('canceled')
    await deployment.startWorker()
    await vi.waitFor(() => expect(twin.jobs[0]?.phase).toBe('canceled'), soon)
    await deployment.expectSettled([id])
    expect(twin.callsOf(create)).toHaveLength(1)
  })
})
