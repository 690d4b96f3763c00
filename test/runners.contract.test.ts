/** What every runner promises, on every runner (infra-validation specification, section 2). */
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { deadlineIn } from '../protocols/deadline.ts'
import { waitUntilReady } from '../protocols/readiness.ts'
import { runRequests } from '../protocols/requests.ts'
import type { Job } from '../runners/job.ts'
import type { Runner } from '../runners/runner.ts'
import { docker } from './support/docker.ts'
import { dockerTarget } from './support/docker-jobs.ts'
import { kubelet, nodeWithinMs } from './support/kubelet.ts'
import { kubernetes } from './support/kubernetes.ts'
import { kubeletTarget, kubernetesTarget } from './support/kubernetes-jobs.ts'
import { endpointTarget, processTarget, type RunnerTarget, soon } from './support/runner-jobs.ts'

type Define = (title: string, define: () => void) => void
/**
 * `owns`: the runner launches the job itself, so it can be adopted, lost and reaped. `runs`: a process of ours is
 * inside, so it can answer, crash and write logs; kwok's Pods have none. `hides`: what this platform cannot tell or give.
 */
const targets: {
  name: string
  owns: boolean
  runs: boolean
  hides?: readonly ('secrets' | 'kills')[]
  describe: Define
  open: () => Promise<RunnerTarget> | RunnerTarget
}[] = [
  { name: 'process', owns: true, runs: true, describe, open: processTarget },
  { name: 'docker', owns: true, runs: true, describe: docker.describe, open: dockerTarget },
  { name: 'kubernetes', owns: true, runs: false, describe: kubernetes.describe, open: kubernetesTarget },
  {
    name: 'kubernetes, with a real kubelet,',
    owns: true,
    runs: true,
    // Its secrets are the cluster's own; and who ended a container is not kept beyond it.
    hides: ['secrets', 'kills'],
    describe: kubelet.describe,
    open: kubeletTarget,
  },
  { name: 'endpoint', owns: false, runs: false, describe, open: endpointTarget },
]

for (const { name, owns, runs, hides = [], describe: suite, open } of targets) {
  suite(`the ${name} runner`, () => {
    let target: RunnerTarget
    beforeAll(async () => {
      target = await open()
    }, nodeWithinMs)
    afterAll(() => target?.close(), 180_000)

    function runnerOf(job: Job, options?: Parameters<RunnerTarget['runner']>[1]): Runner {
      const runner = target.runner(job, options)
      onTestFinished(async () => {
        expect(await target.runner(job).stop(0, soon())).toMatchObject({ gone: true, leftovers: [] })
      })
      return runner
    }

    const owned = (title: string, run: () => Promise<void>) => owns && test(title, run)
    const real = (title: string, run: () => Promise<void>) => runs && test(title, run)

    test('start returns before the job runs, and the wait brings it to Running with an endpoint', async () => {
      const runner = runnerOf(target.job())
      expect(runner.state).toBe('Initial')
      const started = await runner.start()
      expect(started).toMatchObject({ jobKey: runner.job.key, adopted: false })
      expect(started.platformRef).not.toBe('')
      expect(runner.state).toBe('Scheduled')
      const running = await runner.waitUntilRunning(soon())
      expect(runner.state).toBe('Running')
      expect(running.endpoint).toMatch(/^[\d.]+:\d+$/)
      expect(runner.getEndpoint()).toBe(running.endpoint)
    })

    test('every transition is recorded with its time and a reason', async () => {
      const runner = runnerOf(target.job())
      await runner.start()
      await runner.waitUntilRunning(soon())
      await runner.stop(1, soon())
      expect(runner.transitions.map(({ from, to }) => [from, to])).toEqual([
        [undefined, 'Initial'],
        ['Initial', 'Scheduled'],
        ['Scheduled', 'Running'],
        ['Running', 'End'],
      ])
      for (const { at, reason } of runner.transitions) {
        expect(new Date(at).toISOString()).toBe(at)
        expect(reason).not.toBe('')
      }
    })

    test('DR-02 KR-02: a second start throws and creates nothing', async () => {
      const runner = runnerOf(target.job())
      await runner.start()
      await expect(runner.start()).rejects.toMatchObject({
        code: 'ALREADY_STARTED',
        message: 'cannot start model server multiple times',
      })
    })

    test('DR-03 KR-03: waiting before start throws', async () => {
      const runner = runnerOf(target.job())
      await expect(runner.waitUntilRunning(soon())).rejects.toMatchObject({ code: 'NOT_STARTED' })
    })

    test('DR-04: there is no endpoint before Running', async () => {
      const runner = runnerOf(target.job())
      expect(() => runner.getEndpoint()).toThrow(expect.objectContaining({ code: 'NOT_RUNNING' }))
      await runner.start()
      expect(() => runner.getEndpoint()).toThrow(expect.objectContaining({ code: 'NOT_RUNNING' }))
    })

    test('a wait whose deadline has passed still looks once', async () => {
      const first = runnerOf(target.job())
      await first.start()
      await first.waitUntilRunning(soon())
      const later = target.runner(first.job, { from: 'Scheduled' })
      expect((await later.waitUntilRunning(deadlineIn(0))).endpoint).toBe(first.getEndpoint())
    })

    test('a start that arrives after its own time limit creates nothing', async () => {
      const runner = runnerOf(target.job())
      await expect(runner.start({ notAfter: new Date(Date.now() - 1) })).rejects.toMatchObject({
        code: 'CONFIG_INVALID',
      })
      expect(await target.runner(runner.job).observe()).toEqual({ state: 'Initial' })
    })

    test('stop without a start succeeds, and again after that', async () => {
      const runner = runnerOf(target.job())
      expect(await runner.stop(1, soon())).toMatchObject({ gone: true, attempts: 1, leftovers: [] })
      expect(runner.state).toBe('End')
      expect(await runner.stop(1, soon())).toMatchObject({ gone: true })
    })

    test('after stop nothing of the job answers, and no later start brings it back', async () => {
      const runner = runnerOf(target.job())
      await runner.start()
      await runner.waitUntilRunning(soon())
      expect(await runner.stop(1, soon())).toMatchObject({ gone: true, leftovers: [] })
      expect(runner.state).toBe('End')
      expect(() => runner.getEndpoint()).toThrow(expect.objectContaining({ code: 'NOT_RUNNING' }))
      await expect(runner.start()).rejects.toMatchObject({ code: 'ALREADY_STARTED' })
    })

    test('stop waits for a start under way and removes what it made', async () => {
      const runner = runnerOf(target.job())
      const starting = runner.start()
      const stopping = runner.stop(1, soon())
      await starting.catch(() => undefined)
      expect(await stopping).toMatchObject({ gone: true })
      expect(await target.runner(runner.job).observe()).toEqual({ state: 'Initial' })
    })

    owned(
      'BY-07: a start delivered twice adopts the job, and a stop that knows only the key removes it',
      async () => {
        const job = target.job()
        const lost = runnerOf(job)
        const first = await lost.start()
        const retried = target.runner(job)
        expect(await retried.start()).toEqual({ ...first, adopted: true })
        await retried.waitUntilRunning(soon())
        const elsewhere = target.runner(job)
        expect(await elsewhere.stop(1, soon())).toMatchObject({ gone: true })
        expect(await target.runner(job).observe()).toEqual({ state: 'Initial' })
      },
    )

    owned('two deliveries of one start at the same time make one job', async () => {
      const job = target.job()
      runnerOf(job)
      const started = await Promise.all([1, 2, 3].map(() => target.runner(job).start()))
      expect(new Set(started.map(({ platformRef }) => platformRef)).size).toBe(1)
      expect(started.filter(({ adopted }) => !adopted)).toHaveLength(1)
    })

    owned('another job under the same key is refused, not adopted', async () => {
      const job = target.job()
      await runnerOf(job).start()
      const other = { ...job, modelName: 'other' }
      await expect(target.runner(other).start()).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    })

    real('a runner in another process finds the job by its key alone', async () => {
      const job = target.job()
      await runnerOf(job).start()
      const elsewhere = target.runner(job)
      const { endpoint } = await elsewhere.waitUntilRunning(soon())
      await vi.waitFor(async () => expect((await fetch(`http://${endpoint}/env`)).status).toBe(200), {
        timeout: 30_000,
      })
      expect((await elsewhere.getLogs(1024)).text).toContain('tiny-model-server: good')
    })

    real('the server gets its port, the model name and the binary’s own variables', async () => {
      const job = target.job('good', {
        binary: { env: [{ name: 'GREETING', value: 'model $(MODEL_NAME)' }] },
      })
      const runner = runnerOf(job)
      await runner.start()
      const { endpoint } = await runner.waitUntilRunning(soon())
      const env = await vi.waitFor(async () => (await fetch(`http://${endpoint}/env`)).json(), 30_000)
      expect(env).toMatchObject({ MODEL_NAME: 'tiny', GREETING: 'model tiny' })
      expect(Number((env as { PORT: string }).PORT)).toBeGreaterThan(0)
    })

    real('BY-02 BUG-08: a crash after Running is seen at the next look, with the exit code', async () => {
      const runner = runnerOf(target.job())
      await runner.start()
      const { endpoint } = await runner.waitUntilRunning(soon())
      await vi.waitFor(async () => expect((await fetch(`http://${endpoint}/env`)).ok).toBe(true), 30_000)
      await fetch(`http://${endpoint}/exit`).catch(() => undefined)
      await vi.waitFor(
        async () =>
          expect(await runner.observe()).toMatchObject({
            state: 'Aborted',
            failure: 'JOB_ABORTED',
            exitCode: 3,
          }),
        30_000,
      )
      expect(runner.state).toBe('Aborted')
      expect(() => runner.getEndpoint()).toThrow()
    })

    real(
      'BUG-03: a job that crashed keeps its cause and its logs until stop, and stop succeeds',
      async () => {
        const runner = runnerOf(target.job('crash'))
        await runner.start()
        await vi.waitFor(async () => expect((await runner.observe()).state).toBe('Aborted'), 30_000)
        expect(await target.runner(runner.job).observe()).toMatchObject({ exitCode: 3, oomKilled: false })
        expect((await runner.getLogs(4096)).text).toContain('cannot load the model: file is corrupt')
        expect(await runner.stop(1, soon())).toMatchObject({ gone: true, killed: false })
      },
    )

    // Issue 11, item 6.
    real('a server that dies of a query has aborted, whenever its platform learns of it', async () => {
      const runner = runnerOf(target.job('dies-of-query'))
      await runner.start()
      const { endpoints } = await runner.waitUntilRunning(soon())
      const asked = {
        target: { endpoints, modelName: 'tiny', binary: { kind: 'open-inference-v2' } },
        observe: runner.observe,
        deadline: soon(),
      } as const
      await waitUntilReady({ ...asked, pollIntervalMs: 100, readyStreak: 1 })
      const request = { inputs: [{ name: 'x', shape: [1], datatype: 'FP64', data: [1] }] }
      const { failure } = await runRequests({ ...asked, requestTimeoutMs: 30_000 }, [request])
      expect(failure).toEqual({
        class: 'JOB_ABORTED',
        message: expect.stringContaining('exited with code 3'),
      })
    })

    real('a job that ends by itself with code 0 is aborted all the same', async () => {
      const runner = runnerOf(target.job('exits-0'))
      await runner.start()
      await vi.waitFor(async () => expect((await runner.observe()).state).toBe('Aborted'), 30_000)
      const late = target.runner(runner.job, { from: 'Scheduled' })
      await expect(late.waitUntilRunning(soon())).rejects.toMatchObject({
        code: 'JOB_ABORTED',
        message: expect.stringContaining('exited with code 0'),
      })
    })

    owned('a job that somebody else removed is aborted', async () => {
      const runner = runnerOf(target.job())
      await runner.start()
      await runner.waitUntilRunning(soon())
      await target.runner(runner.job).stop(1, soon())
      expect(await runner.observe()).toMatchObject({ state: 'Aborted', failure: 'JOB_ABORTED' })
    })

    real('a server that ignores SIGTERM is killed when its grace is over', async () => {
      const runner = runnerOf(target.job('stubborn'))
      await runner.start()
      const { endpoint } = await runner.waitUntilRunning(soon())
      await vi.waitFor(async () => expect((await fetch(`http://${endpoint}/env`)).ok).toBe(true), 30_000)
      const killed = !hides.includes('kills')
      expect(await runner.stop(0.5, soon())).toMatchObject({ gone: true, killed })
    })

    real('a server that passes its memory limit is OOM_KILLED', async () => {
      const runner = runnerOf(target.job('hog', { limits: { memoryBytes: 256 * 1024 * 1024 } }))
      await runner.start()
      await vi.waitFor(async () => expect((await runner.observe()).state).toBe('Aborted'), 30_000)
      expect(await runner.observe()).toMatchObject({ failure: 'OOM_KILLED', oomKilled: true })
    })

    const masking = hides.includes('secrets') ? () => undefined : real
    masking('secrets are masked in logs', async () => {
      const job = target.job('good', {
        secrets: { TOKEN: 'hunter2-hunter2' },
        binary: { env: [{ name: 'TOKEN', valueFrom: { secret: 'TOKEN' } }] },
      })
      const runner = runnerOf(job)
      await runner.start()
      await runner.waitUntilRunning(soon())
      await vi.waitFor(
        async () => expect((await runner.getLogs(4096)).text).toContain('token is ***'),
        30_000,
      )
    })

    owned('the reaper removes an expired job of a worker that is gone, and leaves the others', async () => {
      const expired = target.job('good', { expiresAt: new Date(Date.now() - 1000).toISOString() })
      const living = target.job()
      await runnerOf(expired).start()
      await runnerOf(living).start()
      const sweep = await target.sweep?.(new Date())
      expect(sweep?.failed).toEqual([])
      expect(sweep?.removed).toContainEqual(expect.stringContaining(expired.key))
      expect(sweep?.removed).not.toContainEqual(expect.stringContaining(living.key))
      expect(await target.runner(expired).observe()).toEqual({ state: 'Initial' })
      await target.runner(living).waitUntilRunning(soon())
    })

    owned('what is left of a validation that has ended goes before it expires', async () => {
      const left = target.job()
      const living = target.job()
      await runnerOf(left).start()
      await runnerOf(living).start()
      const sweep = await target.sweep?.(new Date(), async (id) => id === left.ref.workflowId)
      expect(sweep?.removed).toContainEqual(expect.stringContaining(left.key))
      expect(sweep?.removed).not.toContainEqual(expect.stringContaining(living.key))
      expect(await target.runner(left).observe()).toEqual({ state: 'Initial' })
      await target.runner(living).waitUntilRunning(soon())
    })
  })
}
