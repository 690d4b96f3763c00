/**
 * Two APIs and two workers on one PostgreSQL: they share the load, keep one limit and one pause, and each of them may
 * be stopped or replaced at any moment without anybody noticing more than a refused connection.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { expect, vi } from 'vitest'
import { type Deployment, echo, type Part } from '../support/deployment.ts'
import { after, type ScriptedServer } from '../support/scripted-server.ts'
import { describeProduction, type SetupOptions } from '../support/setups.ts'
import { startSteadyLoad } from '../support/steady-load.ts'

const soon = { timeout: 60_000, interval: 50 }
const both = [0, 1] as const

describeProduction('replicas', ({ makeDeployment, test }) => {
  interface Replicas {
    deployment: Deployment
    apis: Part[]
    workers: Part[]
  }

  async function startReplicas(options: SetupOptions): Promise<Replicas> {
    const deployment = await makeDeployment({ apis: 2, ...options })
    const workers = await Promise.all(both.map(() => deployment.startWorker()))
    const apis = await Promise.all(both.map((which) => deployment.startApi(which)))
    await deployment.noteStatuses()
    return { deployment, apis, workers }
  }

  const post = (deployment: Deployment, which: number, path: string) =>
    fetch(`${deployment.baseUrls[which]}${path}`, { method: 'POST' })

  async function waiting(deployment: Deployment): Promise<number> {
    const [row] = await deployment.query<{ n: number }>(
      `select count(*) as n from predictions where status = 'pending'`,
    )
    return row!.n
  }

  test('a burst on both APIs fills the queue to its limit exactly, and both workers empty it', async () => {
    const limit = 60
    const { deployment } = await startReplicas({
      platform: after(250, echo),
      env: { MAX_QUEUE_SIZE: String(limit), WORKER_CONCURRENCY: '4' },
    })
    expect((await post(deployment, 0, '/pause')).status).toBe(200)
    const answers = await Promise.all(Array.from({ length: 240 }, (_, n) => deployment.submit(n, n % 2)))
    const ids = answers.flatMap(({ status, id }) => (status === 200 ? [id] : []))
    expect(ids).toHaveLength(limit)
    expect(answers.filter(({ status }) => status === 429)).toHaveLength(240 - limit)
    expect(await waiting(deployment)).toBe(limit)
    for (const which of both) {
      const size = await (await fetch(`${deployment.baseUrls[which]}/v1/queue_size`)).json()
      expect(size).toEqual(await (await fetch(`${deployment.baseUrl}/v1/queue_size`)).json())
    }
    // Whoever asks now and again, while they run, never finds more waiting than the limit.
    let most = 0
    const holders = new Set<string>()
    expect((await post(deployment, 1, '/unpause')).status).toBe(200)
    const more = startSteadyLoad({ baseUrls: deployment.baseUrls, asynchronous: 12, direct: 0, pauseMs: 1 })
    const until = performance.now() + 10_000
    while (performance.now() < until || holders.size < 2) {
      most = Math.max(most, await waiting(deployment))
      const rows = await deployment.query<{ holder: string }>(
        `select distinct holder from predictions where status = 'running' and holder is not null`,
      )
      for (const { holder } of rows) holders.add(holder)
      await delay(10)
    }
    await more.stop()
    expect(most).toBeLessThanOrEqual(limit)
    expect(holders.size).toBe(2)
    expect(more.errors.filter((error) => !error.startsWith('429 '))).toEqual([])
    await deployment.expectSettled([...ids, ...more.accepted.values()])
    expect(callsOf(deployment.platform)).toEqual([...ids, ...more.accepted.values()].toSorted())
  }, 120_000)

  test('once /pause has answered at one API no waiting prediction starts at any worker, until /unpause at the other', async () => {
    const { deployment } = await startReplicas({
      platform: after(200, echo),
      env: { WORKER_CONCURRENCY: '3' },
    })
    const load = startSteadyLoad({ baseUrls: deployment.baseUrls, asynchronous: 16, direct: 0, pauseMs: 1 })
    await vi.waitFor(() => expect(deployment.platform.calls.length).toBeGreaterThan(30), soon)
    expect((await post(deployment, 0, '/pause')).status).toBe(200)
    const held = (
      await deployment.query<{ id: string }>(`select id from predictions where status = 'pending'`)
    ).map(({ id }) => id)
    expect(held.length).toBeGreaterThan(0)
    await load.stop()
    const all = [...load.accepted.values()]
    await vi.waitFor(async () => {
      expect(await deployment.query(`select id from predictions where status = 'running'`)).toEqual([])
    }, soon)
    // Longer than the flights' first wait of 5 s: each has asked again.
    await delay(7_000)
    const stillWaiting = await deployment.query<{ id: string }>(
      `select id from predictions where status = 'pending'`,
    )
    const ids = stillWaiting.map(({ id }) => id)
    expect(held.filter((id) => !ids.includes(id))).toEqual([])
    const called = new Set(callsOf(deployment.platform))
    expect(ids.filter((id) => called.has(id))).toEqual([])
    expect((await post(deployment, 1, '/pause')).status).toBe(403)
    expect((await post(deployment, 1, '/unpause')).status).toBe(200)
    await deployment.expectSettled(all)
    expect(callsOf(deployment.platform)).toEqual(all.toSorted())
  }, 120_000)

  test('SIGTERM to two APIs and two workers with work in flight loses nothing and repeats nothing', async () => {
    const { deployment, apis, workers } = await startReplicas({
      platform: after(1_500, echo),
      env: { WORKER_CONCURRENCY: '8' },
    })
    const answers = await Promise.all(Array.from({ length: 40 }, (_, n) => deployment.submit(n, n % 2)))
    const direct = Array.from({ length: 6 }, async (_, n) => {
      const answer = await fetch(`${deployment.baseUrls[n % 2]}/v1/predict`, {
        method: 'POST',
        body: JSON.stringify({ model_name: 'm', inputs: { inputs: [`direct ${n}`] } }),
      })
      return answer.status
    })
    await vi.waitFor(() => expect(deployment.platform.calls.length).toBeGreaterThan(12), soon)
    const codes = await Promise.all([...apis, ...workers].map((part) => part.stop()))
    expect(codes).toEqual([0, 0, 0, 0])
    expect(await Promise.all(direct)).toEqual(direct.map(() => 200))
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200))
    await Promise.all([deployment.startWorker(), deployment.startWorker()])
    await deployment.startApi()
    await deployment.expectSettled(answers.map(({ id }) => id))
    expect(await deployment.query(`select id from predictions where status <> 'succeeded'`)).toEqual([])
    const calls = callsOf(deployment.platform)
    expect(new Set(calls).size).toBe(calls.length)
    expect(calls).toHaveLength(46)
  }, 120_000)

  test('APIs and workers replaced one by one under load: no error, nothing lost, nothing called twice', async () => {
    const { deployment, apis, workers } = await startReplicas({
      platform: after(150, echo),
      env: { WORKER_CONCURRENCY: '8', SHUTDOWN_DELAY: '500ms' },
    })
    const load = startSteadyLoad({ baseUrls: deployment.baseUrls, asynchronous: 6, direct: 3 })
    const grows = async () => {
      const before = load.accepted.size
      await vi.waitFor(() => expect(load.accepted.size).toBeGreaterThan(before + 20), soon)
    }
    await grows()
    for (const [n, worker] of workers.entries()) {
      const next = await deployment.startWorker()
      expect(await worker.stop(), worker.output()).toBe(0)
      workers[n] = next
      await grows()
    }
    for (const which of both) {
      expect(await apis[which]!.stop(), apis[which]!.output()).toBe(0)
      await deployment.startApi(which)
      await grows()
    }
    await load.stop()
    expect(load.errors).toEqual([])
    const ids = [...load.accepted.values()]
    expect(new Set(ids).size).toBe(ids.length)
    await deployment.expectSettled(ids)
    expect(await deployment.query(`select id from predictions where status <> 'succeeded'`)).toEqual([])
    const [stored] = await deployment.query<{ n: number }>('select count(*) as n from predictions')
    expect(stored!.n).toBe(ids.length + load.answered.size)
    const calls = callsOf(deployment.platform)
    expect(new Set(calls).size).toBe(calls.length)
    expect(calls).toHaveLength(stored!.n)
  }, 180_000)
})

/** Ids in order, one for each call. */
function callsOf(platform: ScriptedServer): string[] {
  return platform.calls.map(({ headers }) => String(headers['idempotency-key'])).toSorted()
}
