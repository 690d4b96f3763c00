/** `GET /v1/docs`: what the platform says about a model. The name comes in a JSON body, as inherited, or the query. */
import { createRoute } from '@hono/zod-openapi'
import { z } from 'zod'
import { requireModelName } from '../accept.ts'
import { readJsonObject } from '../body.ts'
import type { ApiDeps, ApiSettings } from '../deps.ts'
import { inheritedErrors, ok } from '../described.ts'
import { jsonText } from '../record.ts'
import { type Api, mount } from '../surface.ts'

const route = createRoute({
  method: 'get',
  path: '/v1/docs',
  summary: 'What the platform says about a model',
  description: 'Inherited clients send `{"model_name": "m"}` as the body of the GET request instead.',
  request: { query: z.object({ model_name: z.string().optional() }) },
  responses: {
    200: ok(z.unknown(), 'JSON of the platform; "" where it has none'),
    ...inheritedErrors(400, 404, 413, 500, 501, 502, 503, 504),
  },
})

const limitMs = 30_000

export function mountDocs(app: Api, deps: ApiDeps, settings: ApiSettings): void {
  mount(app, deps, route, 'inherited', async (c) => {
    const name = c.req.query('model_name') ?? (await readJsonObject(c, settings.maxBodyBytes)).model_name
    requireModelName(name)
    const target = deps.routing.resolve(name)
    return jsonText(await deps.platform(target.platform).docs(target, AbortSignal.timeout(limitMs)))
  })
}
