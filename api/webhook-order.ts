/** `webhook` and `webhook_events_filter` of a request: whom to tell of what, every check before anything is written. */
import { ServiceError } from '../contracts/errors.ts'
import type { AddressGuard } from '../platforms/guarded-address.ts'
import { type WebhookEvent, type WebhookOrder, webhookEvents } from '../records/store.ts'

const longestUrl = 2_000

/**
 * Undefined without a webhook. `base` is where the caller reaches this API: the events' addresses lead there. Throws
 * `invalid_input` naming the field, also for an address that must not be called.
 */
export async function webhookOrderIn(
  { webhook: url, webhook_events_filter: filter }: Record<string, unknown>,
  guard: Pick<AddressGuard, 'refusalNow'> | undefined,
  base: string,
): Promise<WebhookOrder | undefined> {
  if (url === undefined || url === null || url === '') return undefined
  if (guard === undefined) throw new ServiceError('not_implemented', 'this service sends no webhooks')
  if (typeof url !== 'string' || url.length > longestUrl) {
    throw new ServiceError('invalid_input', `webhook must be a URL of at most ${longestUrl} characters`)
  }
  const events = eventsIn(filter)
  const refused = await guard.refusalNow(url)
  if (refused !== undefined) throw new ServiceError('invalid_input', `webhook ${refused}`)
  return { url: new URL(url).href, events, base }
}

function eventsIn(filter: unknown): readonly WebhookEvent[] {
  if (filter === undefined || filter === null) return webhookEvents
  if (!Array.isArray(filter) || filter.length === 0 || !filter.every(isEvent)) {
    const words = webhookEvents.join(', ')
    throw new ServiceError('invalid_input', `webhook_events_filter must be a list of ${words}`)
  }
  return webhookEvents.filter((event) => filter.includes(event))
}

function isEvent(word: unknown): word is WebhookEvent {
  return webhookEvents.some((event) => event === word)
}
