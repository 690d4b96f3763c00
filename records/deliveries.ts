/** What the store knows of user webhooks: orders, deliveries and endpoints that are gone. Owns types only. */
import type { Generated } from 'kysely'
import type { JsonText } from './store.ts'

export const webhookEvents = ['start', 'output', 'logs', 'completed'] as const
export type WebhookEvent = (typeof webhookEvents)[number]

/** What the caller of a prediction asked for. */
export interface WebhookOrder {
  url: string
  events: readonly WebhookEvent[]
  /** `https://host`, under which the caller reaches this API: for the addresses in the events. */
  base: string
}

/** `waiting`: sent or to be sent again; `gone`: the endpoint answered 410, now or earlier. */
export type DeliveryStatus = 'waiting' | 'succeeded' | 'failed' | 'gone'

export interface StoredDelivery {
  /** Also the header `webhook-id`: the same on every try. */
  id: string
  predictionId: string
  event: WebhookEvent
  url: string
  /** Null until the first try has made it; from then on the same. */
  body: JsonText | null
  status: DeliveryStatus
  attempts: number
  /** HTTP status of the latest answer; null without one. */
  lastStatus: number | null
  /** Why the latest try failed, in words. */
  lastError: string
  createdAt: string
  triedAt: string | null
  nextAt: string | null
  endedAt: string | null
}

/** How one try went. */
export interface DeliveryTry {
  status: DeliveryStatus
  answer: number | null
  error: string
  /** Until the next try; only while waiting. */
  nextInMs?: number
}

export interface DeliveryStore {
  get(id: string): Promise<StoredDelivery | undefined>
  /** In the order of their events. */
  list(predictionId: string): Promise<StoredDelivery[]>
  /** The body that every try sends; the first one kept wins and is returned. */
  keepBody(id: string, body: JsonText): Promise<JsonText>
  /** Counts one try. `gone` disables the endpoint for later deliveries. */
  tried(id: string, outcome: DeliveryTry): Promise<void>
  isGone(url: string): Promise<boolean>
  /** No earlier event of the same prediction still waits for its first try. */
  isNext(id: string): Promise<boolean>
  /** Waiting again, its endpoint enabled again. False: no such delivery, or it is under way. */
  reopen(id: string): Promise<boolean>
  /** What the caller of the prediction ordered. */
  orderOf(predictionId: string): Promise<WebhookOrder | undefined>
}

export interface DeliveryTables {
  deliveries: DeliveryTable
  gone_endpoints: { url: string; created_at: number }
}

export interface DeliveryTable {
  seq: Generated<number>
  id: string
  prediction_id: string
  event: WebhookEvent
  url: string
  body: string | null
  status: DeliveryStatus
  attempts: Generated<number>
  last_status: number | null
  last_error: Generated<string>
  created_at: number
  tried_at: number | null
  next_at: number | null
  ended_at: number | null
}
