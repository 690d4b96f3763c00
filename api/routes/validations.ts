/** `/v1/validations…`: runs a candidate model server and tells how it did. */
import { createRoute } from '@hono/zod-openapi'
import { z } from 'zod'
import { ServiceError } from '../../contracts/errors.ts'
import { configInvalid, parseValidation, ValidationRequest } from '../../contracts/validation.ts'
import {
  ScheduleView,
  ValidationDetail,
  ValidationList,
  ValidationSchedule,
  ValidationView,
} from '../../contracts/validation-wire.ts'
import type { ValidationPlan } from '../../contracts/validations.ts'
import type { StoredValidation } from '../../records/store.ts'
import { readJsonObject } from '../body.ts'
import type { ApiDeps, ApiSettings } from '../deps.ts'
import { jsonRequest, ok, problems } from '../described.ts'
import { errorResponse } from '../errors.ts'
import { refuseForeignPages } from '../foreign-pages.ts'
import { json } from '../record.ts'
import { type Api, type ApiContext, mount } from '../surface.ts'
import type { ValidationService } from '../validations.ts'
import { pageOf, pageQuery, partOf } from './pages.ts'

const params = z.object({ id: z.string() })
const at = '/v1/validations'

const createRouteOf = createRoute({
  method: 'post',
  path: at,
  summary: 'Validate a model server',
  description: 'The body is a validation file as JSON; `schedule` repeats it.',
  request: jsonRequest(ValidationRequest.and(z.object({ schedule: ValidationSchedule.optional() }))),
  responses: { 202: ok(ValidationView, 'Accepted; it runs by itself'), ...problems(400, 413, 422, 503) },
})
const listRoute = createRoute({
  method: 'get',
  path: at,
  summary: 'Validations, newest first',
  request: { query: pageQuery.extend({ model_name: z.string().optional() }) },
  responses: { 200: ok(ValidationList, 'A page'), ...problems(400, 503) },
})
const getRoute = createRoute({
  method: 'get',
  path: `${at}/{id}`,
  summary: 'One validation with its attempts',
  request: { params },
  responses: { 200: ok(ValidationDetail, 'As far as it has come'), ...problems(404, 503) },
})
const cancelRoute = createRoute({
  method: 'post',
  path: `${at}/{id}/cancel`,
  summary: 'Cancel a validation',
  request: { params },
  responses: {
    202: ok(ValidationView, 'Its server is being stopped; the verdict will be ABORTED'),
    ...problems(404, 409, 503),
  },
})
const logsRoute = createRoute({
  method: 'get',
  path: `${at}/{id}/logs`,
  summary: 'What the candidate wrote',
  description: 'The last MiB of an attempt’s output as text; without a query those of the last attempt.',
  request: {
    params,
    query: z.object({ binary: z.string().optional(), attempt: z.string().optional() }),
  },
  responses: {
    200: { content: { 'text/plain': { schema: z.string() } }, description: 'Both streams, secrets masked' },
    ...problems(404, 503),
  },
})
const warmupRoute = createRoute({
  method: 'get',
  path: `${at}/{id}/warmup`,
  summary: 'The requests that warm a fresh server up',
  description: 'One request a line. It holds the example data as it is.',
  request: { params },
  responses: {
    200: { content: { 'application/jsonl': { schema: z.string() } }, description: 'JSON Lines' },
    ...problems(404, 503),
  },
})
const scheduleAt = `${at}/{id}/schedule`
const repeatRoute = createRoute({
  method: 'post',
  path: scheduleAt,
  summary: 'Repeat a validation',
  description:
    'Each run is a validation of its own, with the spec of this one. Replaces an earlier schedule.',
  request: { params, ...jsonRequest(ValidationSchedule) },
  responses: { 200: ok(ScheduleView, 'The schedule'), ...problems(400, 404, 422, 503) },
})
const scheduleRoute = createRoute({
  method: 'get',
  path: scheduleAt,
  summary: 'How a validation is repeated',
  request: { params },
  responses: { 200: ok(ScheduleView, 'The schedule'), ...problems(404, 503) },
})
const unscheduleRoute = createRoute({
  method: 'delete',
  path: scheduleAt,
  summary: 'Repeat a validation no more',
  request: { params },
  responses: { 204: { description: 'No schedule is left' }, ...problems(404, 503) },
})

export function mountValidations(
  app: Api,
  deps: ApiDeps,
  settings: ApiSettings,
  service: ValidationService,
): void {
  const { store, rules } = service
  const idOf = (c: ApiContext) => c.req.param('id') ?? ''

  async function known(c: ApiContext): Promise<StoredValidation> {
    const stored = await service.get(idOf(c))
    if (stored === undefined) throw new ServiceError('not_found', 'validation not found')
    return stored
  }

  mount(app, deps, createRouteOf, 'modern', async (c) => {
    refuseForeignPages(c, !rules.named)
    const { schedule, ...request } = await readJsonObject(c, settings.maxBodyBytes)
    const { spec, faults } = parseValidation(request, rules.kinds)
    const repeated = schedule === undefined ? undefined : scheduleIn(schedule)
    if (faults !== undefined) {
      return errorResponse(configInvalid(faults), 'modern', deps.log, { members: { faults } })
    }
    return json(viewOf(await service.submit(spec, repeated)), 202)
  })

  mount(app, deps, listRoute, 'modern', async (c) => {
    const part = partOf(c)
    const modelName = c.req.query('model_name')
    const found = await store.list({ ...part, ...(modelName !== undefined && { modelName }) })
    return json(pageOf(c, part, found, viewOf))
  })

  mount(app, deps, getRoute, 'modern', async (c) => {
    const stored = await known(c)
    const plan: ValidationPlan | null = stored.plan === null ? null : JSON.parse(stored.plan)
    return json({
      ...viewOf(stored),
      binaries: plan?.binaries ?? [],
      attempts: await store.attempts(stored.id),
      spec: JSON.parse(stored.spec),
    })
  })

  mount(app, deps, cancelRoute, 'modern', async (c) => json(viewOf(await service.cancel(idOf(c))), 202))

  mount(app, deps, logsRoute, 'modern', async (c) => {
    const { id } = await known(c)
    const { binary, attempt } = { binary: c.req.query('binary'), attempt: c.req.query('attempt') }
    const wanted = (await store.attempts(id)).filter(
      (one) =>
        (binary === undefined || String(one.binary) === binary) &&
        (attempt === undefined || String(one.n) === attempt),
    )
    const ref = wanted.at(-1)?.logsRef
    const text = ref ? await store.text(id, ref) : undefined
    if (text === undefined) throw new ServiceError('not_found', 'there are no logs of such an attempt (yet)')
    return new Response(text, { headers: { 'content-type': 'text/plain; charset=utf-8' } })
  })

  mount(app, deps, warmupRoute, 'modern', async (c) => {
    const text = await store.text((await known(c)).id, 'warmup-requests.jsonl')
    if (text === undefined) throw new ServiceError('not_found', 'this validation made no warm-up requests')
    return new Response(text, { headers: { 'content-type': 'application/jsonl; charset=utf-8' } })
  })

  mount(app, deps, repeatRoute, 'modern', async (c) => {
    refuseForeignPages(c, !rules.named)
    const { id } = await known(c)
    return json(await service.repeat(id, scheduleIn(await readJsonObject(c, settings.maxBodyBytes))))
  })

  mount(app, deps, scheduleRoute, 'modern', async (c) => {
    const found = await service.schedule((await known(c)).id)
    if (found === undefined) throw new ServiceError('not_found', 'this validation is not repeated')
    return json(found)
  })

  mount(app, deps, unscheduleRoute, 'modern', async (c) => {
    if (await service.stopRepeating((await known(c)).id)) return new Response(null, { status: 204 })
    throw new ServiceError('not_found', 'this validation is not repeated')
  })
}

function scheduleIn(given: unknown): ValidationSchedule {
  const read = ValidationSchedule.safeParse(given)
  if (read.success) return read.data
  const [issue] = read.error.issues
  throw new ServiceError(
    'invalid_input',
    `${['schedule', ...(issue?.path ?? [])].join('.')}: ${issue?.message}`,
  )
}

function viewOf(stored: StoredValidation): ValidationView {
  const { seq: _seq, spec: _spec, plan: _plan, blessingId, ...shown } = stored
  const get = `${at}/${stored.id}`
  return {
    ...shown,
    blessing: blessingId,
    urls: { get, cancel: `${get}/cancel`, logs: `${get}/logs`, schedule: `${get}/schedule` },
  }
}
