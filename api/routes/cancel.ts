/** `POST /cancel/{id}`: cancels a prediction that waits or runs, sync ones included. */
import { createRoute } from '@hono/zod-openapi'
import { z } from 'zod'
import { ServiceError } from '../../contracts/errors.ts'
import { TaskId } from '../../contracts/http.ts'
import type { ApiDeps } from '../deps.ts'
import { inheritedErrors, ok } from '../described.ts'
import { json } from '../record.ts'
import { type Api, mount } from '../surface.ts'

const route = createRoute({
  method: 'post',
  path: '/cancel/{id}',
  summary: 'Cancel a prediction',
  request: { params: z.object({ id: z.string() }) },
  responses: {
    200: ok(TaskId, 'The record reads canceled; also if it did before'),
    ...inheritedErrors(403, 404, 503),
  },
})

export function mountCancel(app: Api, deps: ApiDeps): void {
  const { service } = deps
  mount(app, deps, route, 'inherited', async (c) => {
    const id = c.req.param('id') ?? ''
    const result = await service.cancel(id)
    if (result.outcome === 'unknown') throw new ServiceError('not_found', 'task not found')
    if (result.outcome === 'terminal') {
      throw new ServiceError('already_terminal', `the task has already ${result.status}`)
    }
    return json({ id })
  })
}
