/**
 * What is away comes back: Temporal and the store lost and found again, and every component restarted with predictions
 * waiting. The number in a title is the prediction-agent specification's (section 8).
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, vi } from 'vitest'
import { type Deployment, echo } from '../support/deployment.ts'
import { temporaryFolder } from '../support/folders.ts'
import { after } from '../support/scripted-server.ts'
import { describeSetups } from '../support/setups.ts'

const soon = { timeout: 60_000, interval: 50 }

async function status(deployment: Deployment, path: string): Promise<number> {
  return (await fetch(`${deployment.baseUrl}${path}`)).status
}

describeSetups('outages', (setup) => {
  setup.test(
    '7: restarting every component loses neither the waiting predictions nor the pause',
    async () => {
      const deployment = await setup.makeDeployment({ ownTemporal: true })
      let worker = await deployment.startWorker()
      let api = await deployment.startApi()
      await deployment.noteStatuses()
      expect((await fetch(`${deployment.baseUrl}/pause`, { method: 'POST' })).status).toBe(200)
      const answers = await Promise.all([1, 2, 3, 4].map((n) => deployment.submit(n)))
      const ids = answers.map(({ id }) => id)
      await Promise.all([worker.kill(), api.kill(), deployment.killTemporal()])
      await deployment.restartTemporal()
      worker = await deployment.startWorker()
      api = await deployment.startApi()
      for (const id of ids) expect((await deployment.task(id)).status).toBe('pending')
      // Still paused: pausing again is refused.
      expect((await fetch(`${deployment.baseUrl}/pause`, { method: 'POST' })).status).toBe(403)
      expect(deployment.platform.calls).toHaveLength(0)
      expect((await fetch(`${deployment.baseUrl}/unpause`, { method: 'POST' })).status).toBe(200)
      await deployment.expectSettled(ids)
      expect(await deployment.query(`select id from predictions where status <> 'succeeded'`)).toEqual([])
    },
    120_000,
  )

  // 16, PR-03
  setup.test(
    'with Temporal away predictions are accepted, and each runs once when it is back',
    async () => {
      const deployment = await setup.makeDeployment({ ownTemporal: true })
      await deployment.startWorker()
      await deployment.startApi()
      await deployment.noteStatuses()
      await deployment.killTemporal()
      const answers = await Promise.all(Array.from({ length: 40 }, (_, n) => deployment.submit(n)))
      expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200))
      expect(await deployment.query(`select id from predictions where status <> 'pending'`)).toEqual([])
      await deployment.restartTemporal()
      await deployment.expectSettled(answers.map(({ id }) => id))
      expect(await deployment.query(`select id from predictions where status <> 'succeeded'`)).toEqual([])
      expect(deployment.platform.calls).toHaveLength(40)
    },
    120_000,
  )

  // PR-03
  setup.more(
    'an API killed with Temporal away leaves its flights to its guard',
    async () => {
      const deployment = await setup.makeDeployment({ ownTemporal: true })
      await deployment.startWorker()
      const api = await deployment.startApi()
      await deployment.noteStatuses()
      await deployment.killTemporal()
      const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => deployment.submit(n)))
      expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200))
      await api.kill()
      await deployment.restartTemporal()
      await deployment.expectSettled(answers.map(({ id }) => id))
      expect(await deployment.query(`select id from predictions where status <> 'succeeded'`)).toEqual([])
    },
    120_000,
  )

  // 29
  setup.more(
    '/ready stays 200 when Temporal is lost, and says so; it turns 503 when the store is; /live stays 200',
    async () => {
      const deployment = await setup.makeDeployment({ ownTemporal: true, ownStore: true })
      await deployment.startWorker()
      await deployment.startApi()
      const ready = async () => {
        const answer = await fetch(`${deployment.baseUrl}/ready`)
        return { status: answer.status, ...((await answer.json()) as object) }
      }
      await deployment.killTemporal()
      await vi.waitFor(
        async () => expect(await ready()).toMatchObject({ status: 200, temporal: 'unavailable' }),
        soon,
      )
      await deployment.restartTemporal()
      await vi.waitFor(async () => expect(await ready()).toEqual({ status: 200, message: 'API OK' }), soon)
      expect(await status(deployment, '/live')).toBe(200)
      // A locked SQLite file still answers who reads.
      if (setup.name === 'SQLite') return
      const bringBack = await deployment.takeStoreAway()
      try {
        await vi.waitFor(async () => expect(await status(deployment, '/ready')).toBe(503), soon)
        expect(await status(deployment, '/live')).toBe(200)
      } finally {
        await bringBack()
      }
      await vi.waitFor(async () => expect(await status(deployment, '/ready')).toBe(200), soon)
      await deployment.expectSettled([])
    },
    120_000,
  )

  setup.more(
    '28: what is accepted while a process drains completes, and an API that drains says so',
    async () => {
      const deployment = await setup.makeDeployment({
        platform: after(300, echo),
        env: { SHUTDOWN_DELAY: '3' },
      })
      await deployment.startWorker()
      const api = await deployment.startApi()
      await deployment.noteStatuses()
      const leaving = api.stop()
      await vi.waitFor(async () => expect(await status(deployment, '/ready')).toBe(503), soon)
      const late = await Promise.all([1, 2, 3].map((n) => deployment.submit(n)))
      expect(late.map((answer) => answer.status)).toEqual([200, 200, 200])
      expect(await leaving).toBe(0)
      const ids = late.map(({ id }) => id)
      await deployment.expectSettled(ids)
      expect(await deployment.query(`select id from predictions where status <> 'succeeded'`)).toEqual([])
    },
  )

  setup.more(
    '5: after one kill -9 of the only worker and a restart, interrupted predictions go on within 20 s',
    async () => {
      const deployment = await setup.makeDeployment({ platform: after(2_000, echo) })
      const victim = await deployment.startWorker()
      await deployment.startApi()
      await deployment.noteStatuses()
      const answers = await Promise.all(Array.from({ length: 8 }, (_, n) => deployment.submit(n)))
      const ids = answers.map(({ id }) => id)
      await vi.waitFor(() => expect(deployment.platform.calls).toHaveLength(8), soon)
      await victim.kill()
      const killedAt = Date.now()
      await deployment.startWorker()
      await vi.waitFor(() => expect(deployment.platform.calls.length).toBeGreaterThanOrEqual(16), soon)
      expect(Math.max(...deployment.platform.calls.map((call) => call.at)) - killedAt).toBeLessThan(20_000)
      await deployment.expectSettled(ids)
    },
  )

  setup.more(
    'SIGHUP makes API and worker read the models file again, and a bad file keeps the old one',
    async () => {
      const folder = temporaryFolder('models')
      const file = join(folder, 'models.yaml')
      const deployment = await setup.makeDeployment({ env: { PERDURE_MODELS: file }, models: file })
      const parts = [await deployment.startWorker(), await deployment.startApi()]
      const { id } = await deployment.submit(1)
      await deployment.noteStatuses()
      for (const content of ['models: {', deployment.modelsFileOf('m', 'other')]) {
        writeFileSync(file, content)
        for (const { pid } of parts) process.kill(pid, 'SIGHUP')
        const names = async () => (await fetch(`${deployment.baseUrl}/v1/models`)).text()
        await vi.waitFor(async () => {
          expect(await names()).toContain('"m"')
          expect((await names()).includes('other')).toBe(content.includes('other'))
        }, soon)
      }
      const { id: later } = await deployment.submit(2)
      await vi.waitFor(async () => {
        for (const one of [id, later]) expect((await deployment.task(one)).status).toBe('succeeded')
      }, soon)
      await deployment.expectSettled([id, later])
      for (const part of parts) expect(await part.stop()).toBe(0)
    },
  )
})
