/** A deployment in this process whose webhooks may reach one receiver on the loopback interface. */
import { expect, onTestFinished } from 'vitest'
import { type InProcess, type InProcessOptions, startInProcess } from './in-process.ts'
import { json, type ScriptedServer, startScriptedServer } from './scripted-server.ts'

export const secrets = [
  `whsec_${Buffer.alloc(32, 1).toString('base64')}`,
  `whsec_${Buffer.alloc(24, 2).toString('base64')}`,
]
/** The standard schedule shortened by the settings. */
export const deliveryDelaysMs = [0, 50, 100, 200, 400, 800]

export interface WebhookStage extends InProcess {
  receiver: ScriptedServer
  /** Creates a prediction through HTTP; its id. */
  create(body?: Record<string, unknown>): Promise<string>
  deliveries(
    id: string,
  ): Promise<{ id: string; event: string; status: string; attempts: number; last_error: string }[]>
}

export async function webhookStage(options: InProcessOptions = {}): Promise<WebhookStage> {
  const receiver = await startScriptedServer(json({}))
  onTestFinished(() => receiver.close())
  const port = Number(new URL(receiver.origin).port)
  const parts = await startInProcess({
    deliveryDelaysMs,
    ...options,
    webhooks: {
      secrets: secrets.map((secret) => ({ reveal: () => secret })),
      rules: { allowHttp: true, allowCidrs: ['127.0.0.1/32'], allowPorts: [port] },
      timeoutMs: 1_000,
      ...options.webhooks,
    },
  })
  return {
    ...parts,
    receiver,
    async create(body = {}) {
      const answer = await parts.app.request('https://api.test/v1/predictions', {
        method: 'POST',
        body: JSON.stringify({
          version: 'm',
          input: { inputs: [7] },
          webhook: `${receiver.origin}/hook`,
          ...body,
        }),
      })
      const text = await answer.text()
      expect(answer.status, text).toBe(201)
      return (JSON.parse(text) as { id: string }).id
    },
    async deliveries(id) {
      const answer = await parts.app.request(`/v1/predictions/${id}/deliveries`)
      expect(answer.status).toBe(200)
      return ((await answer.json()) as { results: Awaited<ReturnType<WebhookStage['deliveries']>> }).results
    },
  }
}
