/** `/live`, `/ready` and `/metrics`: how the process is, for whoever runs it. */
import { createRoute } from '@hono/zod-openapi'
import { z } from 'zod'
import { Message, Ready } from '../../contracts/http.ts'
import type { ApiDeps } from '../deps.ts'
import { inheritedErrors, ok } from '../described.ts'
import { json } from '../record.ts'
import { type Api, mount } from '../surface.ts'

const liveRoute = createRoute({
  method: 'get',
  path: '/live',
  summary: 'The process runs',
  responses: { 200: ok(Message, 'Always') },
})

const readyRoute = createRoute({
  method: 'get',
  path: '/ready',
  summary: 'Requests are welcome',
  responses: {
    200: ok(Ready, 'The store answers, and predictions are accepted'),
    ...inheritedErrors(503),
  },
})

const metricsRoute = createRoute({
  method: 'get',
  path: '/metrics',
  summary: 'Prometheus metrics',
  responses: { 200: { content: { 'text/plain': { schema: z.string() } }, description: 'Prometheus text' } },
})

export function mountHealth(app: Api, deps: ApiDeps): void {
  const { readiness, metrics } = deps
  mount(app, deps, liveRoute, 'inherited', () => json({ message: 'API OK' }))

  mount(app, deps, readyRoute, 'inherited', () => {
    const against = readiness.now()
    if (against !== undefined) throw against
    return json({ message: 'API OK', ...(!readiness.temporalAnswers() && { temporal: 'unavailable' }) })
  })

  mount(app, deps, metricsRoute, 'inherited', async () => {
    return new Response(await metrics.text(), { headers: { 'content-type': metrics.contentType } })
  })
}
