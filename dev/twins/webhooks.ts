/** Webhooks as the providers send them: Replicate's signed and filtered, RunPod's plain. Owns no job. */
import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { Webhook } from 'standardwebhooks'
import { printJson } from '../../contracts/json.ts'

export interface WebhookSender {
  /** `whsec_…`. */
  readonly secret: string
  /** Sends once; after a failure up to `retries` times more. Never throws. */
  send(url: string, id: string, body: unknown, retries: number): Promise<void>
}

export function makeWebhookSender(signed: boolean, retryMs: number, stop: AbortSignal): WebhookSender {
  const secret = `whsec_${randomBytes(24).toString('base64')}`
  const signer = new Webhook(secret)
  return {
    secret,
    async send(url, id, body, retries) {
      const text = printJson(body)
      for (let attempt = 0; !stop.aborted; attempt++) {
        const now = new Date()
        const signature = {
          'webhook-id': id,
          'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
          'webhook-signature': signer.sign(id, now, text),
        }
        const headers = { 'content-type': 'application/json', ...(signed ? signature : {}) }
        const options = { method: 'POST', body: text, headers, redirect: 'manual' } as const
        const delivered = await fetch(url, {
          ...options,
          signal: AbortSignal.any([stop, AbortSignal.timeout(15_000)]),
        })
          .then(({ ok }) => ok)
          .catch(() => false)
        if (delivered || attempt >= retries) return
        await delay(retryMs, undefined, { signal: stop }).catch(() => undefined)
      }
    },
  }
}
