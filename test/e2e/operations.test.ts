/** What docs/operations.md tells an operator to expect and to do, done: the queue grows, Temporal, database or provider away. */
import { expect, vi } from 'vitest'
import { type Deployment, echo } from '../support/deployment.ts'
import { after, hang } from '../support/scripted-server.ts'
import { describeProduction } from '../support/setups.ts'

const soon = { timeout: 60_000, interval: 50 }

async function status(deployment: Deployment, path: string, init: RequestInit = {}): Promise<number> {
  return (await fetch(`${deployment.baseUrl}${path}`, init)).status
}

const post = (deployment: Deployment, path: string) => status(deployment, path, { method: 'POST' })

const predict = { method: 'POST', body: JSON.stringify({ model_name: 'm', inputs: { inputs: [1] } }) }

async function queueSize(deployment: Deployment): Promise<number> {
  const answer = await fetch(`${deployment.baseUrl}/v1/queue_size`)
  return ((await answer.json()) as { queue_size: number }).queue_size
}

// Temporal, records and providers that go away are under test in every run; these are the words of the guide.
describeProduction('operations', ({ makeDeployment, more: test }) => {
  test('the queue grows: 429 with Retry-After at the limit, /delete_pending empties it, another worker shares it', async () => {
    const deployment = await makeDeployment({
      platform: after(400, echo),
      env: { WORKER_CONCURRENCY: '1', MAX_QUEUE_SIZE: '20' },
    })
    await deployment.startWorker()
    await deployment.startApi()
    const first = await Promise.all(Array.from({ length: 30 }, (_, n) => deployment.submit(n)))
    expect(first.filter((answer) => answer.status === 429).length).toBeGreaterThan(0)
    const full = await fetch(`${deployment.baseUrl}/async/v1/predict`, predict)
    if (full.status === 429) expect(Number(full.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(await queueSize(deployment)).toBeGreaterThan(0)
    expect(await post(deployment, '/delete_pending')).toBe(200)
    expect(await deployment.query(`select id from predictions where status = 'pending'`)).toEqual([])
    const deleted = await deployment.query(`select id from predictions where status = 'canceled'`)
    expect(deleted.length).toBeGreaterThan(10)
    await deployment.startWorker()
    const more = await Promise.all(Array.from({ length: 16 }, (_, n) => deployment.submit(n)))
    expect(more.map((answer) => answer.status)).toEqual(more.map(() => 200))
    const holders = new Set<string>()
    await vi.waitFor(async () => {
      const rows = await deployment.query<{ holder: string }>(
        `select distinct holder from predictions where status = 'running' and holder is not null`,
      )
      for (const { holder } of rows) holders.add(holder)
      expect(holders.size).toBe(2)
    }, soon)
    await deployment.noteStatuses()
    await deployment.expectSettled(more.map(({ id }) => id))
  })

  test('Temporal is away: 503 for new ones, running calls end and are stored; nothing needs doing when it is back', async () => {
    const deployment = await makeDeployment({ ownTemporal: true, platform: after(2_000, echo) })
    await deployment.startWorker()
    await deployment.startApi()
    const ids = (await Promise.all([1, 2, 3, 4].map((n) => deployment.submit(n)))).map(({ id }) => id)
    await vi.waitFor(() => expect(deployment.platform.calls).toHaveLength(4), soon)
    await deployment.killTemporal()
    await vi.waitFor(async () => {
      for (const id of ids) expect((await deployment.task(id)).status).toBe('succeeded')
    }, soon)
    await vi.waitFor(async () => expect(await status(deployment, '/ready')).toBe(503), soon)
    expect(await status(deployment, '/live')).toBe(200)
    expect((await deployment.submit(5)).status).toBe(503)
    expect(await status(deployment, '/v1/predict', predict)).toBe(200)
    await deployment.restartTemporal()
    await deployment.ready()
    const { id } = await deployment.submit(6)
    await vi.waitFor(async () => expect((await deployment.task(id)).status).toBe('succeeded'), soon)
    await deployment.expectSettled([...ids, id])
  }, 120_000)

  test('the database is away: 503 everywhere, /live excepted; workers keep their results and store them later', async () => {
    const deployment = await makeDeployment({ ownStore: true, platform: after(2_000, echo) })
    await deployment.startWorker()
    await deployment.startApi()
    const ids = (await Promise.all([1, 2, 3, 4].map((n) => deployment.submit(n)))).map(({ id }) => id)
    await vi.waitFor(() => expect(deployment.platform.calls).toHaveLength(4), soon)
    const bringBack = await deployment.takeStoreAway()
    const answers = await Promise.all([
      deployment.submit(5).then((answer) => answer.status),
      status(deployment, '/v1/predict', predict),
      status(deployment, `/task/${ids[0]}`),
      status(deployment, '/v1/queue_size'),
      post(deployment, '/pause'),
      post(deployment, `/cancel/${ids[0]}`),
    ])
    expect(answers).toEqual(answers.map(() => 503))
    await vi.waitFor(async () => expect(await status(deployment, '/ready')).toBe(503), soon)
    const refusal = await (await fetch(`${deployment.baseUrl}/ready`)).text()
    expect(refusal).toContain('store')
    expect(await status(deployment, '/live')).toBe(200)
    await bringBack()
    await vi.waitFor(async () => {
      for (const id of ids) expect((await deployment.task(id)).status).toBe('succeeded')
    }, soon)
    expect(deployment.platform.calls).toHaveLength(4)
    await deployment.ready()
    await deployment.expectSettled(ids)
  }, 120_000)

  test('a provider is stuck: /pause keeps the rest waiting, what runs is canceled or times out, /unpause goes on', async () => {
    const deployment = await makeDeployment({
      platform: hang,
      env: { WORKER_CONCURRENCY: '2', TASK_TIMEOUT: '8', V2_REQUEST_TIMEOUT: '8' },
    })
    await deployment.startWorker()
    await deployment.startApi()
    await deployment.noteStatuses()
    const ids = (await Promise.all([1, 2, 3, 4, 5, 6].map((n) => deployment.submit(n)))).map(({ id }) => id)
    await vi.waitFor(() => expect(deployment.platform.calls).toHaveLength(2), soon)
    expect(await post(deployment, '/pause')).toBe(200)
    const running = await deployment.query<{ id: string }>(
      `select id from predictions where status = 'running'`,
    )
    expect(running).toHaveLength(2)
    const [unwanted, late] = running.map(({ id }) => id)
    expect(await post(deployment, `/cancel/${unwanted}`)).toBe(200)
    await vi.waitFor(async () => {
      expect(await deployment.task(late!)).toMatchObject({
        status: 'failed',
        error_info: expect.stringContaining('timeout'),
      })
    }, soon)
    expect(deployment.platform.calls).toHaveLength(2)
    deployment.platform.script(echo)
    expect(await post(deployment, '/unpause')).toBe(200)
    await deployment.expectSettled(ids)
    const ended = await deployment.query<{ status: string; n: number }>(
      'select status, count(*) as n from predictions group by status order by status',
    )
    expect(ended).toEqual([
      { status: 'canceled', n: 1 },
      { status: 'failed', n: 1 },
      { status: 'succeeded', n: 4 },
    ])
  })
})
