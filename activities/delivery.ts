/** One try to deliver one webhook event: makes the body once, signs, posts, notes how it went. Owns no schedule. */
import { Webhook } from 'standardwebhooks'
import type { DeliverInput, DeliverReport, DeliveryActivities } from '../contracts/deliveries.ts'
import { objectText } from '../contracts/prediction-text.ts'
import type { AddressRules, Resolve } from '../platforms/guarded-address.ts'
import { type GuardedAnswer, makeGuardedClient } from '../platforms/guarded-client.ts'
import type { Store, StoredDelivery, StoredPrediction, WebhookEvent } from '../records/store.ts'

export interface WebhookSending {
  /** `whsec_…`; every one signs, so that receivers may change theirs at any time. */
  secrets: readonly { reveal(): string }[]
  rules: AddressRules
  /** Of one try; 20 s. */
  timeoutMs?: number
  /** How names are looked up; the system's way unless a test says otherwise. */
  resolve?: Resolve
  onTry?(outcome: DeliverReport['status'], about: { delivery: string; prediction: string }): void
}

/** A webhook is a notice, not a transport: above this, payloads are left out and read at `urls.get`. */
const longestBody = 20_000
/** 429, 502 and 504 say that the receiver has too much to do. */
const overloaded: ReadonlySet<number> = new Set([429, 502, 504])
const calmer = 2
/** The end of longer logs is shown. */
const shortLogs = 2_000

export function makeDeliveryActivities(store: Store, sending: WebhookSending): DeliveryActivities {
  const { deliveries } = store
  const signers = sending.secrets.map((secret) => new Webhook(secret.reveal()))
  const client = makeGuardedClient(sending.rules, {
    ...(sending.timeoutMs !== undefined && { timeoutMs: sending.timeoutMs }),
    ...(sending.resolve !== undefined && { resolve: sending.resolve }),
  })

  async function bodyOf(delivery: StoredDelivery): Promise<string | undefined> {
    if (delivery.body !== null) return delivery.body
    const [record, inputs, order] = await Promise.all([
      store.get(delivery.predictionId),
      store.inputsOf(delivery.predictionId),
      deliveries.orderOf(delivery.predictionId),
    ])
    if (record === undefined || order === undefined) return undefined
    const shown = atEvent(delivery.event, record)
    const whole = objectText(shown, inputs, order.base)
    const isShort = Buffer.byteLength(whole) <= longestBody
    const text = isShort ? whole : objectText(withoutPayloads(shown), 'null', order.base)
    return deliveries.keepBody(delivery.id, text)
  }

  async function post(delivery: StoredDelivery, body: string): Promise<GuardedAnswer> {
    const now = new Date()
    const headers = {
      'content-type': 'application/json',
      'user-agent': 'perdure-webhooks/1',
      'webhook-id': delivery.id,
      'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
      'webhook-signature': signers.map((signer) => signer.sign(delivery.id, now, body)).join(' '),
    }
    return client.post({ url: delivery.url, body, headers })
  }

  async function note(
    { id, predictionId: prediction }: StoredDelivery,
    status: DeliverReport['status'],
    answer: number | null,
    error: string,
    waitMs = 0,
  ): Promise<DeliverReport> {
    await deliveries.tried(id, { status, answer, error, ...(status === 'waiting' && { nextInMs: waitMs }) })
    sending.onTry?.(status, { delivery: id, prediction })
    return { status, waitMs }
  }

  return {
    async deliver({ id, nextMs, outOfTurn }: DeliverInput) {
      const delivery = await deliveries.get(id)
      if (delivery === undefined) return { status: 'failed', waitMs: 0 }
      if (delivery.status !== 'waiting') return { status: delivery.status, waitMs: 0 }
      if (delivery.attempts === 0 && !outOfTurn && !(await deliveries.isNext(id))) {
        return { status: 'waiting', waitMs: 0, early: true }
      }
      if (await deliveries.isGone(delivery.url))
        return note(delivery, 'gone', null, 'the endpoint answered 410 before')
      const body = await bodyOf(delivery)
      if (body === undefined) return note(delivery, 'failed', null, 'the prediction has expired')
      const answer = await post(delivery, body)
      const { status } = answer
      if (status !== null && status >= 200 && status < 300) return note(delivery, 'succeeded', status, '')
      if (status === 410) return note(delivery, 'gone', status, 'the endpoint answered 410: it is disabled')
      const error = status === null ? answer.reason : `the receiver answered ${status}`
      const isRefused = status === null && answer.refused
      if (nextMs === undefined || isRefused) return note(delivery, 'failed', status, error)
      const plannedMs = status !== null && overloaded.has(status) ? nextMs * calmer : nextMs
      const askedMs = status === null ? 0 : (answer.retryAfterMs ?? 0)
      return note(delivery, 'waiting', status, error, Math.max(plannedMs, askedMs))
    },
    async reopenDelivery(id) {
      await deliveries.reopen(id)
    },
  }
}

/** The prediction as it was when the event happened, however late this is told. */
function atEvent(event: WebhookEvent, record: StoredPrediction): StoredPrediction {
  if (event === 'completed') return record
  const running = { ...record, status: 'running' as const, outputs: 'null', errorInfo: '', endedAt: null }
  return event === 'start' ? { ...running, partial: 'null', logs: '' } : running
}

function withoutPayloads(record: StoredPrediction): StoredPrediction {
  return { ...record, outputs: 'null', partial: 'null', logs: record.logs.slice(-shortLogs) }
}
