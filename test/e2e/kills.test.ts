/**
 * `kill -9` on every process, alone and together, repeatedly: every accepted prediction becomes terminal, each status
 * is written once, and no workflow is left behind.
 */
import { expect, vi } from 'vitest'
import { type Deployment, echo } from '../support/deployment.ts'
import { after, type ScriptedServer } from '../support/scripted-server.ts'
import { describeSetups } from '../support/setups.ts'

const soon = { timeout: 60_000, interval: 50 }

/** Calls per prediction: the id travels with every call. */
function callsById(platform: ScriptedServer): Map<string, number> {
  const counts = new Map<string, number>()
  for (const { headers } of platform.calls) {
    const id = String(headers['idempotency-key'])
    counts.set(id, (counts.get(id) ?? 0) + 1)
  }
  return counts
}

async function submitMany(deployment: Deployment, count: number): Promise<string[]> {
  const answers = await Promise.all(Array.from({ length: count }, (_, n) => deployment.submit(n)))
  expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200))
  return answers.map(({ id }) => id)
}

describeSetups('kills', (setup) => {
  setup.test(
    'a prediction survives its worker being killed mid-call, and runs again within 5 s on the standby',
    async () => {
      const deployment = await setup.makeDeployment({ platform: after(4_000, echo) })
      const victim = await deployment.startWorker()
      await deployment.startApi()
      await deployment.noteStatuses()
      const ids = await submitMany(deployment, 8)
      await vi.waitFor(() => expect(deployment.platform.calls).toHaveLength(8), soon)
      const standby = await deployment.startWorker()
      // The standby polls once it has taken something of its own.
      const [probe] = await submitMany(deployment, 1)
      await vi.waitFor(async () => {
        const [row] = await deployment.query<{ holder: string | null }>(
          'select holder from predictions where id = ?',
          probe!,
        )
        expect(row?.holder ?? '').not.toBe('')
      }, soon)
      const killedAt = Date.now()
      await victim.kill()
      const open = new Set(
        deployment.platform.calls
          .filter((call) => call.aborted)
          .map((call) => call.headers['idempotency-key']),
      )
      await vi.waitFor(() => {
        const again = new Set(
          deployment.platform.calls
            .filter((call) => call.at >= killedAt)
            .map((call) => call.headers['idempotency-key']),
        )
        for (const id of open) expect(again).toContain(id)
      }, soon)
      const lastAgain = Math.max(...deployment.platform.calls.map((call) => call.at))
      // 5 s on an idle machine (npm run bench measures that); a busy one gets its time, short of any timeout.
      expect(lastAgain - killedAt).toBeLessThan(30_000)
      await deployment.expectSettled([...ids, probe!])
      for (const count of callsById(deployment.platform).values()) expect(count).toBeLessThanOrEqual(2)
      expect(await standby.stop()).toBe(0)
    },
  )

  setup.test(
    'what an API process had accepted goes on after its kill, and its sync calls end failed',
    async () => {
      const deployment = await setup.makeDeployment({ platform: after(1_500, echo) })
      await deployment.startWorker()
      const api = await deployment.startApi()
      await deployment.noteStatuses()
      const ids = await submitMany(deployment, 20)
      const cut = Array.from({ length: 5 }, () =>
        fetch(`${deployment.baseUrl}/v1/predict`, {
          method: 'POST',
          body: JSON.stringify({ model_name: 'm', inputs: { inputs: ['sync'] } }),
        }).then(
          () => 'answered',
          () => 'cut',
        ),
      )
      await vi.waitFor(async () => {
        expect(deployment.platform.calls.filter(({ body }) => body.includes('sync'))).toHaveLength(5)
      }, soon)
      await api.kill()
      expect(await Promise.all(cut)).toEqual(['cut', 'cut', 'cut', 'cut', 'cut'])
      await deployment.expectSettled(ids)
      const interrupted = await deployment.query<{ status: string; error_code: string }>(
        `select status, error_code from predictions where queue_id = ''`,
      )
      expect(interrupted).toEqual(
        Array.from({ length: 5 }, () => ({ status: 'failed', error_code: 'interrupted' })),
      )
      const done = await deployment.query<{ status: string }>(
        `select status from predictions where queue_id <> ''`,
      )
      expect(done.every(({ status }) => status === 'succeeded')).toBe(true)
    },
  )

  setup.test('Temporal killed and restarted loses nothing that was accepted', async () => {
    const deployment = await setup.makeDeployment({ ownTemporal: true, platform: after(300, echo) })
    await deployment.startWorker()
    await deployment.startApi()
    await deployment.noteStatuses()
    const ids = await submitMany(deployment, 60)
    await vi.waitFor(() => expect(deployment.platform.calls.length).toBeGreaterThan(5), soon)
    await deployment.killTemporal()
    await deployment.restartTemporal()
    await deployment.expectSettled(ids)
    expect(await deployment.query(`select id from predictions where status <> 'succeeded'`)).toEqual([])
  })

  setup.more(
    'everything killed at once, three times under load, leaves every accepted prediction terminal',
    async () => {
      const deployment = await setup.makeDeployment({ ownTemporal: true, platform: after(100, echo) })
      const accepted: string[] = []
      let stopped = false
      const load = async () => {
        for (let n = 0; !stopped; n++) {
          // A request that is cut was not accepted as far as its sender knows; its record ends terminal all the same.
          const answer = await deployment.submit(n).catch(() => undefined)
          if (answer?.status === 200) accepted.push(answer.id)
          else await new Promise((resolve) => setTimeout(resolve, 50))
        }
      }
      let worker = await deployment.startWorker()
      let api = await deployment.startApi()
      await deployment.noteStatuses()
      const loads = Array.from({ length: 4 }, load)
      for (let round = 1; round <= 3; round++) {
        const before = accepted.length
        await vi.waitFor(() => expect(accepted.length).toBeGreaterThan(before + 20), soon)
        await Promise.all([worker.kill(), api.kill(), deployment.killTemporal()])
        await deployment.restartTemporal()
        worker = await deployment.startWorker()
        api = await deployment.startApi()
      }
      stopped = true
      await Promise.all(loads)
      await deployment.expectSettled(accepted)
      expect(accepted.length).toBeGreaterThan(60)
    },
    180_000,
  )

  setup.more(
    'cancels that arrive while Temporal is away are answered, and close the connections',
    async () => {
      const deployment = await setup.makeDeployment({ ownTemporal: true, platform: after(60_000, echo) })
      await deployment.startWorker()
      await deployment.startApi()
      await deployment.noteStatuses()
      const ids = await submitMany(deployment, 6)
      await vi.waitFor(() => expect(deployment.platform.calls).toHaveLength(6), soon)
      await deployment.killTemporal()
      const answers = await Promise.all(
        ids.map((id) => fetch(`${deployment.baseUrl}/cancel/${id}`, { method: 'POST' })),
      )
      expect(answers.map(({ status }) => status)).toEqual(ids.map(() => 200))
      for (const id of ids) expect((await deployment.task(id)).status).toBe('canceled')
      await vi.waitFor(() => expect(deployment.platform.calls.every((call) => call.aborted)).toBe(true), {
        timeout: 10_000,
        interval: 50,
      })
      await deployment.restartTemporal()
      await deployment.expectSettled(ids)
    },
  )

  /** Four calls of one worker, which stands still; another one polls. */
  async function frozenInCalls() {
    const deployment = await setup.makeDeployment({ platform: after(1_000, echo) })
    const frozen = await deployment.startWorker()
    await deployment.startApi()
    await deployment.noteStatuses()
    const ids = await submitMany(deployment, 4)
    await vi.waitFor(() => expect(deployment.platform.calls).toHaveLength(4), soon)
    frozen.freeze()
    await deployment.startWorker()
    return { deployment, frozen, ids }
  }

  if (setup.name === 'SQLite')
    setup.test(
      'a worker frozen in a call and thawed later ends its predictions once, with one platform call',
      async () => {
        const { deployment, frozen, ids } = await frozenInCalls()
        // Its heartbeats are missed and the activity is delivered to the other worker, which must not call again.
        const client = await deployment.client()
        await vi.waitFor(async () => {
          const pending = await Promise.all(
            [...new Set(ids.map((id) => `flight-${id.slice(0, 18)}`))].map(async (flight) => {
              const { raw } = await client.workflow.getHandle(flight).describe()
              return raw.pendingActivities?.some((activity) => (activity.attempt ?? 0) >= 2) ?? false
            }),
          )
          expect(pending).toContain(true)
        }, soon)
        frozen.thaw()
        await deployment.expectSettled(ids)
        for (const count of callsById(deployment.platform).values()) expect(count).toBe(1)
        expect(await deployment.query(`select id from predictions where status <> 'succeeded'`)).toEqual([])
      },
    )

  if (setup.name === 'PostgreSQL') {
    setup.test(
      'a worker frozen in a call is given up: another ends its predictions, and it ends itself when thawed',
      async () => {
        const { deployment, frozen, ids } = await frozenInCalls()
        await deployment.expectSettled(ids)
        frozen.thaw()
        // Killed by the thread that beats for it.
        expect(await frozen.exited).toBe(null)
        for (const count of callsById(deployment.platform).values()) expect(count).toBe(2)
        expect(await deployment.query(`select id from predictions where status <> 'succeeded'`)).toEqual([])
      },
    )

    setup.test(
      'PostgreSQL killed under Temporal and records at once loses nothing that was accepted',
      async () => {
        const deployment = await setup.makeDeployment({ ownTemporal: true, platform: after(300, echo) })
        await deployment.startWorker()
        await deployment.startApi()
        await deployment.noteStatuses()
        const ids = await submitMany(deployment, 60)
        await vi.waitFor(() => expect(deployment.platform.calls.length).toBeGreaterThan(5), soon)
        const bringBack = await deployment.takeStoreAway()
        await bringBack()
        await deployment.expectSettled(ids, { timeout: 120_000, interval: 250 })
        expect(await deployment.query(`select id from predictions where status <> 'succeeded'`)).toEqual([])
        for (const count of callsById(deployment.platform).values()) expect(count).toBe(1)
      },
      180_000,
    )
  }
})
