/**
 * The outbox outlives its senders: processes are killed while the external record service or a receiver of webhooks is
 * away; both are told everything, in order, and no inference is repeated for it.
 */
import { Webhook } from 'standardwebhooks'
import { expect, onTestFinished, vi } from 'vitest'
import {
  json,
  type ScriptedServer,
  type Step,
  send,
  startScriptedServer,
} from '../support/scripted-server.ts'
import { describeSetups } from '../support/setups.ts'

const soon = { timeout: 60_000, interval: 50 }
const taken: Step = json({ id: 'taken' })
const away: Step = json({ error: 'away' }, 503)

async function other(first: Step): Promise<ScriptedServer> {
  const server = await startScriptedServer(first)
  onTestFinished(() => server.close())
  return server
}

function statusesOf(records: ScriptedServer, id: string): string[] {
  return records.calls
    .map(({ body }) => JSON.parse(body) as { id: string; status: string })
    .flatMap((task) => (task.id === id ? [task.status] : []))
}

describeSetups('mirror and webhooks under kills', (setup) => {
  setup.test(
    'a worker killed while the record service is away loses no change, and nothing is called again',
    async () => {
      const records = await other(taken)
      const deployment = await setup.makeDeployment({
        env: { WEBHOOK_SERVER_ADDRESS: records.address, WEBHOOK_APIKEY: 'k' },
      })
      const victim = await deployment.startWorker()
      await deployment.startApi()
      await deployment.noteStatuses()
      // The creation is taken, nothing after it.
      records.script(taken, away)
      const { id } = await deployment.submit(1)
      await vi.waitFor(async () => expect((await deployment.task(id)).status).toBe('succeeded'), soon)
      await victim.kill()
      const seen = records.calls.length
      records.script(taken)
      await deployment.startWorker()
      await deployment.expectSettled([id])
      expect(statusesOf(records, id).slice(-2)).toEqual(['running', 'succeeded'])
      expect(records.calls.length).toBeGreaterThan(seen)
      expect(records.calls.every(({ headers }) => headers.apikey === 'k')).toBe(true)
      expect(deployment.platform.calls).toHaveLength(1)
    },
  )

  setup.more('an API killed with an untold sync result leaves it to its guard', async () => {
    const records = await other(taken)
    const deployment = await setup.makeDeployment({ env: { WEBHOOK_SERVER_ADDRESS: records.address } })
    await deployment.startWorker()
    const api = await deployment.startApi()
    await deployment.noteStatuses()
    records.script(taken, away)
    const answer = await fetch(`${deployment.baseUrl}/v1/predict`, {
      method: 'POST',
      body: JSON.stringify({ model_name: 'm', inputs: { inputs: [1] } }),
    })
    const { id } = (await answer.json()) as { id: string }
    expect(answer.status).toBe(200)
    await api.kill()
    records.script(taken)
    await vi.waitFor(() => expect(statusesOf(records, id).at(-1)).toBe('succeeded'), soon)
    await deployment.expectSettled([id])
    expect(deployment.platform.calls).toHaveLength(1)
  })

  setup.more(
    'a worker killed right after a result was written still has its webhook sent, signed with the kept secret',
    async () => {
      const receiver = await other(send('', 200))
      const deployment = await setup.makeDeployment({
        env: {
          WEBHOOK_ALLOW_HTTP: 'true',
          WEBHOOK_ALLOW_CIDRS: '127.0.0.1/32',
          WEBHOOK_ALLOW_PORTS: new URL(receiver.origin).port,
        },
      })
      const victim = deployment.launch('test/support/crashing-worker.ts', 'transition', '1')
      await deployment.startApi()
      await deployment.noteStatuses()
      const created = await fetch(`${deployment.baseUrl}/v1/predictions`, {
        method: 'POST',
        body: JSON.stringify({
          version: 'm',
          input: { inputs: [3] },
          webhook: `${receiver.origin}/hook`,
          webhook_events_filter: ['completed'],
        }),
      })
      const { id } = (await created.json()) as { id: string }
      expect(created.status).toBe(201)
      await victim.exited
      expect(receiver.calls).toEqual([])
      await deployment.startWorker()
      await deployment.expectSettled([id])
      await vi.waitFor(() => expect(receiver.calls).toHaveLength(1), soon)
      const shown = deployment.launch('cli/main.ts', 'webhooks', 'secret')
      expect(await shown.exited).toBe(0)
      const [call] = receiver.calls
      new Webhook(shown.output().trim()).verify(call!.body, call!.headers as Record<string, string>)
      expect(JSON.parse(call!.body)).toMatchObject({ id, status: 'succeeded' })
    },
  )
})
