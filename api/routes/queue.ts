/** The queue as operators see it: `/pause`, `/unpause`, `/delete_pending`, `/unfinished`, `/v1/queue_size`. */
import { createRoute } from '@hono/zod-openapi'
import { ServiceError } from '../../contracts/errors.ts'
import { DeletedTasks, QueueInfo, QueueSize, UnfinishedTasks } from '../../contracts/http.ts'
import type { ApiDeps, ApiSettings } from '../deps.ts'
import { inheritedErrors, ok } from '../described.ts'
import { json } from '../record.ts'
import { type Api, mount } from '../surface.ts'

const pauseRoute = createRoute({
  method: 'post',
  path: '/pause',
  summary: 'Start no waiting prediction until /unpause',
  description: 'Holds for all replicas and survives restarts. Predictions are accepted; running ones go on.',
  responses: { 200: ok(QueueInfo, 'Paused'), ...inheritedErrors(403, 503) },
})

const unpauseRoute = createRoute({
  method: 'post',
  path: '/unpause',
  summary: 'Start waiting predictions again',
  responses: { 200: ok(QueueInfo, 'Unpaused'), ...inheritedErrors(403, 503) },
})

const deletePendingRoute = createRoute({
  method: 'post',
  path: '/delete_pending',
  summary: 'Cancel every waiting prediction',
  description: 'Of MODEL_NAME only, where that is set.',
  responses: { 200: ok(DeletedTasks, 'Their records read canceled'), ...inheritedErrors(503) },
})

const unfinishedRoute = createRoute({
  method: 'get',
  path: '/unfinished',
  summary: 'How many predictions wait or run',
  responses: { 200: ok(UnfinishedTasks, 'An exact count'), ...inheritedErrors(503) },
})

const queueSizeRoute = createRoute({
  method: 'get',
  path: '/v1/queue_size',
  summary: 'How many predictions wait',
  responses: { 200: ok(QueueSize, 'An exact count'), ...inheritedErrors(503) },
})

export function mountQueue(app: Api, deps: ApiDeps, { queue, modelName }: ApiSettings): void {
  const { store, service, metrics } = deps
  mount(app, deps, pauseRoute, 'inherited', async () => {
    if (!(await store.pause(queue))) {
      throw new ServiceError('queue_already_paused', 'queue "critical" is already paused')
    }
    return json({ info: 'queue critical paused' })
  })

  mount(app, deps, unpauseRoute, 'inherited', async () => {
    const changed = await store.unpause(queue)
    // Also if nothing has changed: the one before may have been stored and its flights never woken.
    service.wakeQueue()
    if (!changed) throw new ServiceError('queue_not_paused', 'queue "critical" is not paused')
    // The predecessor's own words.
    return json({ info: 'Unpaused queue critical paused' })
  })

  mount(app, deps, deletePendingRoute, 'inherited', async () => {
    const { deleted, pending, flights } = await store.deletePending(queue, modelName || undefined)
    service.wakeFlights(flights)
    metrics.canceled('delete_pending', deleted)
    return json({ num_of_deleted_tasks: deleted, num_of_pending_tasks: pending })
  })

  mount(app, deps, unfinishedRoute, 'inherited', async () => {
    const { waiting, running } = await store.count(queue)
    return json({ 'num of unfinished tasks': waiting + running })
  })

  mount(app, deps, queueSizeRoute, 'inherited', async () => {
    const { waiting } = await store.count(queue)
    return json({ queue_size: waiting })
  })
}
