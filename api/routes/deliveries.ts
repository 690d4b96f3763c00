/** Deliveries of user webhooks: what was sent, how it went, and once more. */
import { createRoute } from '@hono/zod-openapi'
import { z } from 'zod'
import { ServiceError } from '../../contracts/errors.ts'
import type { StoredDelivery } from '../../records/store.ts'
import type { ApiDeps } from '../deps.ts'
import { ok, problems } from '../described.ts'
import { json } from '../record.ts'
import { type Api, mount } from '../surface.ts'

const Delivery = z
  .object({
    id: z.string().meta({ description: 'Also the header webhook-id, the same on every try' }),
    event: z.enum(['start', 'output', 'logs', 'completed']),
    url: z.string(),
    status: z
      .enum(['waiting', 'succeeded', 'failed', 'gone'])
      .meta({ description: 'gone: the endpoint answered 410 and is sent nothing more' }),
    attempts: z.number().int(),
    last_status: z.number().int().nullable().meta({ description: 'HTTP status of the latest answer' }),
    last_error: z.string(),
    created_at: z.string(),
    tried_at: z.string().nullable(),
    next_at: z.string().nullable().meta({ description: 'When it is tried next; null once it has ended' }),
    ended_at: z.string().nullable(),
  })
  .meta({ id: 'Delivery' })
const DeliveryList = z.object({ results: z.array(Delivery) }).meta({ id: 'DeliveryList' })

const listRoute = createRoute({
  method: 'get',
  path: '/v1/predictions/{id}/deliveries',
  summary: 'Webhook deliveries of a prediction',
  request: { params: z.object({ id: z.string() }) },
  responses: { 200: ok(DeliveryList, 'In the order of the events'), ...problems(404, 503) },
})
const redeliverRoute = createRoute({
  method: 'post',
  path: '/v1/predictions/{id}/deliveries/{delivery}/redeliver',
  summary: 'Deliver an event once more',
  description: 'On the same schedule and under the same webhook-id; enables an endpoint that was gone.',
  request: { params: z.object({ id: z.string(), delivery: z.string() }) },
  responses: { 202: ok(Delivery, 'It is under way, as it was before'), ...problems(404, 503) },
})

export function mountDeliveries(app: Api, deps: ApiDeps): void {
  const { service, store } = deps

  mount(app, deps, listRoute, 'modern', async (c) => {
    const id = c.req.param('id') ?? ''
    const deliveries = await store.deliveries.list(id)
    if (deliveries.length === 0 && (await store.get(id)) === undefined) {
      throw new ServiceError('not_found', 'prediction not found')
    }
    return json({ results: deliveries.map(shown) })
  })

  mount(app, deps, redeliverRoute, 'modern', async (c) => {
    const delivery = await store.deliveries.get(c.req.param('delivery') ?? '')
    if (delivery === undefined || delivery.predictionId !== c.req.param('id')) {
      throw new ServiceError('not_found', 'delivery not found')
    }
    await service.redeliver(delivery.id)
    return json(shown(delivery), 202)
  })
}

function shown(delivery: StoredDelivery): z.infer<typeof Delivery> {
  return {
    id: delivery.id,
    event: delivery.event,
    url: delivery.url,
    status: delivery.status,
    attempts: delivery.attempts,
    last_status: delivery.lastStatus,
    last_error: delivery.lastError,
    created_at: delivery.createdAt,
    tried_at: delivery.triedAt,
    next_at: delivery.nextAt,
    ended_at: delivery.endedAt,
  }
}
