/**
 * `kill -9` of the worker at every point of a provider job. The provider counts exactly one creation, unless the crash
 * falls between its answer and our storing it: then one more, and the provider's own deadline bounds the first.
 */
import { describe, expect, onTestFinished, vi } from 'vitest'
import type { Scenario } from '../../dev/twins/job.ts'
import { startReplicateTwin } from '../../dev/twins/replicate.ts'
import { startRunpodTwin } from '../../dev/twins/runpod.ts'
import { full } from '../support/require.ts'
import { describeSetups } from '../support/setups.ts'

const soon = { timeout: 60_000, interval: 50 }
// A killed worker may have been handed a decision, which is given away after ten seconds: twice in some stories.
vi.setConfig({ testTimeout: 150_000 })

interface Point {
  method: string
  moment: string
  refused?: boolean
}

/** Writes of a worker on its way through a job; `refused`: the provider refuses the first creation. */
const points: Point[] = [
  { method: 'take', moment: 'after' },
  { method: 'beginJob', moment: 'after' },
  { method: 'jobCreated', moment: 'after' },
  { method: 'transition', moment: 'after' },
]
const furtherPoints: Point[] = [
  { method: 'beginJob', moment: 'before' },
  { method: 'jobRefused', moment: 'after', refused: true },
  { method: 'release', moment: 'before', refused: true },
  { method: 'release', moment: 'after', refused: true },
  { method: 'transition', moment: 'before' },
]

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

describeSetups('jobs under kills', (setup) =>
  describe.each(providers)('$name', ({ name, create, start }) => {
    // What differs between the two is their wire: some points are enough with one of them, where time is short.
    const further = name === 'replicate' ? { test: setup.more } : full
    const test = setup.more
    const everywhere = name === 'replicate' ? setup.test : setup.more
    async function stage(scenario: Scenario) {
      const { twin, env } = await start(scenario)
      onTestFinished(() => twin.close())
      const timeouts = { TASK_TIMEOUT: '60', REPLICATE_REQUEST_TIMEOUT: '60', RUNPOD_REQUEST_TIMEOUT: '60' }
      const deployment = await setup.makeDeployment({ env: { ...env, ...timeouts } })
      const crashing = (method: string, moment = 'after') =>
        deployment.launch('test/support/crashing-worker.ts', method, '1', moment)
      const cancel = (id: string) => fetch(`${deployment.baseUrl}/cancel/${id}`, { method: 'POST' })
      return { twin, deployment, crashing, cancel }
    }

    async function survives({ method, moment, refused = false }: Point) {
      const { twin, deployment, crashing } = await stage({ runMs: 500, output: 'done' })
      if (refused) twin.fault(create, 503)
      const victim = crashing(method, moment)
      await deployment.startApi()
      await deployment.noteStatuses()
      const { id } = await deployment.submit(1)
      expect(await victim.exited).not.toBe(0)
      await deployment.startWorker()
      await deployment.expectSettled([id])
      expect(await deployment.task(id)).toMatchObject({ status: 'succeeded', outputs: { output: 'done' } })
      expect(twin.callsOf(create)).toHaveLength(refused ? 2 : 1)
      expect(twin.jobs).toHaveLength(1)
    }

    for (const point of points) {
      const inTime = point.method === 'jobCreated' ? test : further.test
      inTime(`6: a worker killed right ${point.moment} its ${point.method} makes no second job`, () =>
        survives(point),
      )
    }
    for (const point of furtherPoints) {
      further.test(`6: a worker killed right ${point.moment} its ${point.method} makes no second job`, () =>
        survives(point),
      )
    }

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

    further.test('a creation whose answer dies with two workers is not sent a third time', async () => {
      const { twin, deployment, crashing } = await stage({ runMs: 500, output: 'done' })
      const first = crashing('jobCreated', 'before')
      await deployment.startApi()
      await deployment.noteStatuses()
      const { id } = await deployment.submit(1)
      await first.exited
      await crashing('jobCreated', 'before').exited
      await deployment.startWorker()
      await deployment.expectSettled([id])
      expect(await deployment.task(id)).toMatchObject({
        status: 'failed',
        error_info: 'status 20003: the answer to the creation was lost twice',
      })
      expect(twin.callsOf(create)).toHaveLength(2)
    })

    further.test(
      'a worker killed while the provider has not answered its creation is followed by one more creation',
      async () => {
        const { twin, deployment } = await stage({ runMs: 500, output: 'done' })
        twin.fault(create, 'hang')
        const victim = await deployment.startWorker()
        await deployment.startApi()
        await deployment.noteStatuses()
        const { id } = await deployment.submit(1)
        await vi.waitFor(() => expect(twin.callsOf(create)).toHaveLength(1), soon)
        await victim.kill()
        await deployment.startWorker()
        await deployment.expectSettled([id])
        expect((await deployment.task(id)).status).toBe('succeeded')
        expect(twin.callsOf(create)).toHaveLength(2)
      },
    )

    everywhere(
      '6: a worker killed while its job runs is followed by one that polls the same job',
      async () => {
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
      },
    )

    async function cancelsAtLast(moment: string) {
      const { twin, deployment, crashing, cancel } = await stage({ end: 'never' })
      const victim = crashing('cancelHeard', moment)
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
    }

    further.test(
      'a worker killed right after it noted that a cancel was heard leaves nothing due and no job alive',
      () => cancelsAtLast('after'),
    )
    further.test(
      'a worker killed between a cancel that was heard and its note of it sends it once more',
      () => cancelsAtLast('before'),
    )

    const withOne = name === 'replicate' ? setup.test : full.test
    withOne('a cancel given while no worker lives reaches the provider once one does', async () => {
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

    describe('while its text is streamed', () => {
      const words = Array.from({ length: 12 }, (_, n) => `word${n} `)
      const scenario = { chunks: words, runMs: 6_000 }

      async function streaming() {
        const { twin, deployment } = await stage(scenario)
        const worker = await deployment.startWorker()
        const api = await deployment.startApi()
        await deployment.noteStatuses()
        const response = await fetch(`${deployment.baseUrl}/v1/generate`, {
          method: 'POST',
          headers: { accept: 'application/x-ndjson' },
          body: JSON.stringify({ model_name: 'm', inputs: {} }),
        })
        expect(response.status).toBe(200)
        const [{ id } = { id: '' }] = await deployment.query<{ id: string }>('select id from predictions')
        return { twin, deployment, worker, api, response, id }
      }

      test('a killed API leaves the job to its flight, which stores the whole text', async () => {
        const { twin, deployment, api, response, id } = await streaming()
        const cut = response.text().catch((error: unknown) => error)
        await api.kill()
        expect(await cut).toBeInstanceOf(Error)
        await deployment.startApi()
        await deployment.expectSettled([id])
        expect(await deployment.task(id)).toMatchObject({
          status: 'succeeded',
          outputs: { output: words.join('') },
        })
        expect(twin.callsOf(create)).toHaveLength(1)
        expect(twin.callsOf('cancel')).toHaveLength(0)
      })

      further.test('a killed worker is not noticed by who reads it', async () => {
        const { twin, deployment, worker, response, id } = await streaming()
        await worker.kill()
        await deployment.startWorker()
        const lines = (await response.text()).trim().split('\n')
        const pieces = lines.map((line) => JSON.parse(line) as { data: string })
        expect(pieces.map(({ data }) => data).join('')).toBe(words.join(''))
        await deployment.expectSettled([id])
        expect(await deployment.task(id)).toMatchObject({
          status: 'succeeded',
          outputs: { output: words.join('') },
        })
        expect(twin.callsOf(create)).toHaveLength(1)
      })
    })
  }),
)
