/**
 * The promises of the design (section 5), attacked one by one: crashes between any write and what follows it, a store
 * that is away, a process that was thought dead and comes back.
 */
import { expect, vi } from 'vitest'
import { type Deployment, echo } from '../support/deployment.ts'
import { after, hang, type ScriptedServer } from '../support/scripted-server.ts'
import { describeSetups } from '../support/setups.ts'

const soon = { timeout: 60_000, interval: 50 }

async function submitMany(deployment: Deployment, count: number): Promise<string[]> {
  const answers = await Promise.all(Array.from({ length: count }, (_, n) => deployment.submit(n)))
  expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200))
  return answers.map(({ id }) => id)
}

/** Most calls of one prediction that were open at the same time. */
function mostAtOnce(platform: ScriptedServer): number {
  return Math.max(0, ...counts(platform).values())
}

function counts(platform: ScriptedServer): Map<string, number> {
  const byId = new Map<string, number>()
  for (const { headers } of platform.calls) {
    const id = String(headers['idempotency-key'])
    byId.set(id, (byId.get(id) ?? 0) + 1)
  }
  return byId
}

describeSetups('attacks', (setup) => {
  for (const method of ['take', 'transition'] as const) {
    const define = method === 'transition' ? setup.test : setup.more
    define(
      `a worker killed right after a ${method} was written, twice, loses nothing and ends each prediction once`,
      async () => {
        const deployment = await setup.makeDeployment()
        const first = deployment.launch('test/support/crashing-worker.ts', method, '2')
        await deployment.startApi()
        await deployment.noteStatuses()
        const ids = await submitMany(deployment, 6)
        await first.exited
        // Writes are grouped: the first crash may have come after the last of these was written.
        ids.push(...(await submitMany(deployment, 6)))
        const second = deployment.launch('test/support/crashing-worker.ts', method, '2')
        await second.exited
        await deployment.startWorker()
        await deployment.expectSettled(ids)
        expect(await deployment.query(`select id from predictions where status <> 'succeeded'`)).toEqual([])
        // One call of the first incarnation, one of the second, one of the third at the most.
        expect(mostAtOnce(deployment.platform)).toBeLessThanOrEqual(3)
      },
    )
  }

  setup.test(
    'an API killed right after an admit was written, twice, leaves no record without a workflow',
    async () => {
      const deployment = await setup.makeDeployment()
      await deployment.startWorker()
      for (let round = 1; round <= 2; round++) {
        const api = deployment.launch('test/support/crashing-api.ts', 'kill-after', '1')
        await deployment.ready(api)
        await deployment.noteStatuses()
        // Cut in flight: accepted or not, nobody was told. The record exists, and its guard starts its flight.
        await deployment.submit(round).catch(() => undefined)
        await api.exited
      }
      await vi.waitFor(async () => {
        expect(await deployment.query(`select id from predictions where status = 'succeeded'`)).toHaveLength(
          2,
        )
      }, soon)
      await deployment.expectSettled([])
    },
  )

  setup.test(
    'an API frozen before an admit and thawed after its guard has ended admits nothing and exits',
    async () => {
      const deployment = await setup.makeDeployment()
      await deployment.startWorker()
      const api = deployment.launch('test/support/crashing-api.ts', 'freeze-before', '1')
      await deployment.ready(api)
      await deployment.noteStatuses()
      const cut = deployment.submit(1).then(
        ({ status }) => status,
        () => 'cut',
      )
      const client = await deployment.client()
      const [row] = await deployment.query<{ id: string }>(`select id from processes where role = 'api'`)
      // On SQLite a frozen process keeps its file lock, so only an operator can declare it dead: what a cut-off host looks
      // like. On PostgreSQL its beats are missed.
      if (setup.name === 'SQLite') await deployment.declareDead(row!.id)
      const guard = client.workflow.getHandle(`guard-${row!.id}`)
      await vi.waitFor(async () => expect((await guard.describe()).status.name).toBe('COMPLETED'), soon)
      api.thaw()
      // It sees it itself, or the thread that beats for it does and kills it.
      expect([1, null]).toContain(await api.exited)
      expect([503, 'cut']).toContain(await cut)
      expect(await deployment.query('select id from predictions')).toEqual([])
      expect(deployment.platform.calls).toHaveLength(0)
      await deployment.expectSettled([])
    },
  )

  setup.test(
    'the store away for long with 200 calls in flight costs no second call and no result',
    async () => {
      const deployment = await setup.makeDeployment({
        ownStore: true,
        platform: after(3_000, echo),
        env: { WORKER_CONCURRENCY: '200' },
      })
      await deployment.startWorker()
      await deployment.startApi()
      await deployment.noteStatuses()
      const ids = await submitMany(deployment, 200)
      await vi.waitFor(() => expect(deployment.platform.calls).toHaveLength(200), soon)
      const bringBack = await deployment.takeStoreAway()
      const awayMs = setup.name === 'SQLite' ? 60_000 : 20_000
      const since = Date.now()
      try {
        // New work is refused clearly, and nothing of it is written.
        const refused = await deployment.submit(1)
        expect(refused.status).toBe(503)
        await vi.waitFor(() => expect(Date.now() - since).toBeGreaterThan(awayMs), {
          timeout: 70_000,
          interval: 250,
        })
      } finally {
        await bringBack()
      }
      await deployment.expectSettled(ids)
      expect([...counts(deployment.platform).values()].every((count) => count === 1)).toBe(true)
      expect(await deployment.query(`select id from predictions where status = 'succeeded'`)).toHaveLength(
        200,
      )
    },
    180_000,
  )

  setup.test('a SIGTERM with work in flight loses nothing and repeats nothing', async () => {
    const deployment = await setup.makeDeployment({ platform: after(1_500, echo) })
    const worker = await deployment.startWorker()
    const api = await deployment.startApi()
    await deployment.noteStatuses()
    const ids = await submitMany(deployment, 10)
    await vi.waitFor(() => expect(deployment.platform.calls.length).toBeGreaterThan(3), soon)
    expect(await worker.stop()).toBe(0)
    await deployment.startWorker()
    expect(await api.stop()).toBe(0)
    await deployment.startApi()
    await deployment.expectSettled(ids)
    expect([...counts(deployment.platform).values()].every((count) => count === 1)).toBe(true)
  })

  setup.more('an idle process exits soon after SIGTERM', async () => {
    const deployment = await setup.makeDeployment({ env: { SHUTDOWN_DELAY: '1' } })
    const worker = await deployment.startWorker()
    const api = await deployment.startApi()
    for (const part of [api, worker]) {
      const since = Date.now()
      expect(await part.stop()).toBe(0)
      // SHUTDOWN_DELAY + 2 s, and as much again for a busy machine.
      expect(Date.now() - since).toBeLessThan(6_000)
    }
  })

  setup.more('100 parallel submits with room for 30 and no worker give exactly 30 times 200', async () => {
    const deployment = await setup.makeDeployment({ env: { MAX_QUEUE_SIZE: '30' }, platform: hang })
    const worker = await deployment.startWorker()
    await deployment.startApi()
    await worker.stop()
    const answers = await Promise.all(Array.from({ length: 100 }, (_, n) => deployment.submit(n)))
    const statuses = answers.map(({ status }) => status)
    expect(statuses.filter((status) => status === 200)).toHaveLength(30)
    expect(statuses.filter((status) => status === 429)).toHaveLength(70)
    deployment.platform.script(echo)
    await deployment.startWorker()
    await deployment.expectSettled(answers.flatMap(({ status, id }) => (status === 200 ? [id] : [])))
  })

  setup.more(
    'deployments with different TASK_TYPE_NAME on one namespace never run each other’s predictions',
    async () => {
      const one = await setup.makeDeployment()
      const two = await setup.makeDeployment()
      await one.startWorker()
      await one.startApi()
      await one.noteStatuses()
      await two.startWorker()
      await two.startApi()
      await two.noteStatuses()
      const ofOne = await submitMany(one, 10)
      const ofTwo = await submitMany(two, 10)
      await one.expectSettled(ofOne)
      await two.expectSettled(ofTwo)
      expect([...counts(one.platform).keys()].toSorted()).toEqual(ofOne.toSorted())
      expect([...counts(two.platform).keys()].toSorted()).toEqual(ofTwo.toSorted())
    },
  )
})
