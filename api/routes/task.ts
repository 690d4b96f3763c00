/** `GET /task/{id}`: the record of a prediction. */
import { createRoute } from '@hono/zod-openapi'
import { z } from 'zod'
import { ServiceError } from '../../contracts/errors.ts'
import { TaskRecord } from '../../contracts/predictions.ts'
import { recordText } from '../../contracts/record-text.ts'
import type { ApiDeps } from '../deps.ts'
import { inheritedErrors, ok } from '../described.ts'
import { jsonText } from '../record.ts'
import { type Api, mount } from '../surface.ts'

const route = createRoute({
  method: 'get',
  path: '/task/{id}',
  summary: 'The record of a prediction',
  request: { params: z.object({ id: z.string() }) },
  responses: { 200: ok(TaskRecord, 'The record'), ...inheritedErrors(404, 503) },
})

export function mountTask(app: Api, deps: ApiDeps): void {
  const { store } = deps
  mount(app, deps, route, 'inherited', async (c) => {
    const record = await store.get(c.req.param('id') ?? '')
    if (record === undefined) throw new ServiceError('not_found', 'task not found')
    return jsonText(recordText(record))
  })
}
