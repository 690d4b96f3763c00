/** `/v1/predictions`: Replicate's way to create, read, list, cancel and retry predictions. Every prediction flies. */
import { createRoute } from '@hono/zod-openapi'
import { z } from 'zod'
import { ServiceError } from '../../contracts/errors.ts'
import { CreateHeaders } from '../../contracts/headers.ts'
import { isJsonObject, parseJson } from '../../contracts/json.ts'
import {
  CreateOwnedPrediction,
  CreatePrediction,
  objectStatuses,
  PredictionList,
  PredictionObject,
} from '../../contracts/prediction-object.ts'
import { objectText } from '../../contracts/prediction-text.ts'
import { isTerminal } from '../../contracts/statuses.ts'
import type { ModelRoute, Routing } from '../../platforms/routing.ts'
import type { Page, StoredPrediction, WebhookOrder } from '../../records/store.ts'
import { accept } from '../accept.ts'
import { readJsonObject } from '../body.ts'
import type { ApiDeps, ApiSettings } from '../deps.ts'
import { jsonRequest, ok, problems } from '../described.ts'
import { openGate } from '../gate.ts'
import { filterIn, isFromWeb } from '../prediction-filter.ts'
import { waitMsOf } from '../prefer.ts'
import { jsonText } from '../record.ts'
import { type Api, type ApiContext, mount } from '../surface.ts'
import { webhookOrderIn } from '../webhook-order.ts'

const id = z.object({ id: z.string() })
const created = {
  201: ok(PredictionObject, 'Accepted; with `Prefer: wait` it has ended'),
  202: ok(PredictionObject, 'The wait ran out; the prediction goes on'),
  ...problems(400, 403, 404, 413, 422, 429, 501, 503),
}

const createdRoute = createRoute({
  method: 'post',
  path: '/v1/predictions',
  summary: 'Create a prediction',
  request: { headers: CreateHeaders, ...jsonRequest(CreatePrediction) },
  responses: created,
})
const ownedRoute = createRoute({
  method: 'post',
  path: '/v1/models/{owner}/{name}/predictions',
  summary: 'Create a prediction of a model',
  request: {
    headers: CreateHeaders,
    params: z.object({ owner: z.string(), name: z.string() }),
    ...jsonRequest(CreateOwnedPrediction),
  },
  responses: created,
})
const getRoute = createRoute({
  method: 'get',
  path: '/v1/predictions/{id}',
  summary: 'One prediction',
  request: { params: id },
  responses: { 200: ok(PredictionObject, 'As it is now'), ...problems(404, 503) },
})
const listRoute = createRoute({
  method: 'get',
  path: '/v1/predictions',
  summary: 'Predictions, newest first',
  request: {
    query: z.object({
      cursor: z.string().optional().meta({ description: 'Of another page; `next` and `previous` have it' }),
      status: z.enum(objectStatuses).optional(),
      code: z.string().optional().meta({ description: 'Of what failed or was canceled' }),
      model: z.string().optional(),
      created_after: z.string().optional().meta({ description: 'RFC 3339; at that moment or later' }),
      created_before: z.string().optional().meta({ description: 'RFC 3339; before that moment' }),
      source: z.enum(['api', 'web']).optional().meta({ description: 'Nothing is made on a web page here' }),
    }),
  },
  responses: { 200: ok(PredictionList, 'A page of 100 at most'), ...problems(400, 503) },
})
const cancelRoute = createRoute({
  method: 'post',
  path: '/v1/predictions/{id}/cancel',
  summary: 'Cancel a prediction',
  request: { params: id },
  responses: { 200: ok(PredictionObject, 'It reads canceled'), ...problems(403, 404, 503) },
})
const retryRoute = createRoute({
  method: 'post',
  path: '/v1/predictions/{id}/retry',
  summary: 'A new prediction from the stored input',
  description: 'Its webhook is inherited.',
  request: { headers: CreateHeaders, params: id },
  responses: { ...created, ...problems(409, 410) },
})

const pageSize = 100

export function mountPredictions(app: Api, deps: ApiDeps, settings: ApiSettings): void {
  const { service, store, routing, gate = openGate } = deps

  async function shown(c: ApiContext, record: StoredPrediction): Promise<string> {
    return objectText(record, await store.inputsOf(record.id), originOf(c))
  }

  async function askedIn(c: ApiContext, body: Record<string, unknown>) {
    return { input: inputIn(body), webhook: await webhookOrderIn(body, deps.webhookGuard, originOf(c)) }
  }

  async function recordOf(c: ApiContext): Promise<StoredPrediction> {
    return known(await store.get(c.req.param('id') ?? ''))
  }

  async function create(
    c: ApiContext,
    target: ModelRoute,
    { input, webhook }: { input: Record<string, unknown>; webhook?: WebhookOrder | undefined },
    retryOf?: string,
  ): Promise<Response> {
    const waitMs = waitMsOf(c.req.header('prefer'))
    const request = accept(c, target, input, settings.uploadWebhook, webhook)
    if (retryOf !== undefined) request.retryOf = retryOf
    return gate.serve(target, async () => {
      const accepted = await service.submit(request)
      const record = known(
        waitMs === undefined ? await store.get(accepted.id) : await service.waitFor(accepted.id, waitMs),
      )
      const inTime = waitMs === undefined || isTerminal(record.status)
      // Of a wait that ran out, the official clients go on to poll only what reads `starting`.
      return jsonText(await shown(c, inTime ? record : waiting(record)), inTime ? 201 : 202)
    })
  }

  mount(app, deps, createdRoute, 'modern', async (c) => {
    const body = await readJsonObject(c, settings.maxBodyBytes)
    const asked = await askedIn(c, body)
    return create(c, targetOf(body, routing), asked)
  })

  mount(app, deps, ownedRoute, 'modern', async (c) => {
    const asked = await askedIn(c, await readJsonObject(c, settings.maxBodyBytes))
    const target = routing.resolveOwned(c.req.param('owner') ?? '', c.req.param('name') ?? '')
    return create(c, target, asked)
  })

  mount(app, deps, getRoute, 'modern', async (c) => jsonText(await shown(c, await recordOf(c))))

  mount(app, deps, listRoute, 'modern', async (c) => {
    const { cursor, source, ...filters } = c.req.query()
    const filter = { ...filterIn(filters), limit: pageSize, queue: settings.queue, ...(cursor && { cursor }) }
    const page: Page = isFromWeb(source) ? { items: [] } : await store.list(filter)
    const results = await Promise.all(page.items.map((record) => shown(c, record)))
    const around = JSON.stringify({
      next: otherPage(c, page.nextCursor),
      previous: otherPage(c, page.previousCursor),
    })
    return jsonText(`${around.slice(0, -1)},"results":[${results.join(',')}]}`)
  })

  mount(app, deps, cancelRoute, 'modern', async (c) => {
    const result = await service.cancel(c.req.param('id') ?? '')
    if (result.outcome === 'terminal') {
      throw new ServiceError('already_terminal', `the prediction has already ${result.status}`)
    }
    return jsonText(await shown(c, await recordOf(c)))
  })

  mount(app, deps, retryRoute, 'modern', async (c) => {
    const record = await recordOf(c)
    if (!isTerminal(record.status)) {
      throw new ServiceError('conflict', 'the prediction has not ended yet')
    }
    const stored = await store.inputsOf(record.id)
    const input = stored === undefined ? undefined : parseJson(stored)
    if (!isJsonObject(input)) throw new ServiceError('input_expired', 'the input is no longer stored')
    const webhook = record.webhook && { ...record.webhook, base: originOf(c) }
    return create(c, routing.resolve(record.modelName, record.modelVersion), { input, webhook }, record.id)
  })
}

function known(record: StoredPrediction | undefined): StoredPrediction {
  if (record === undefined) throw new ServiceError('not_found', 'prediction not found')
  return record
}

function waiting(record: StoredPrediction): StoredPrediction {
  return { ...record, status: 'pending' }
}

/** Where the caller found us: its links must lead there again. */
export function originOf(c: ApiContext): string {
  return new URL(c.req.url).origin
}

function inputIn(body: Record<string, unknown>): Record<string, unknown> {
  const { input } = body
  if (!isJsonObject(input)) {
    throw new ServiceError(
      'invalid_input',
      input === undefined ? 'input is required' : 'input must be an object',
    )
  }
  return input
}

/** `version` is a name, a version, `owner/name` or `owner/name:version`; `model` is `owner/name`. */
function targetOf({ version, model }: Record<string, unknown>, routing: Routing): ModelRoute {
  const asked = version ?? model
  if (typeof asked !== 'string' || asked === '') {
    throw new ServiceError(
      'invalid_input',
      asked === undefined ? 'version is required' : 'version must be a text',
    )
  }
  const [, owner, name, named] = /^([^/:]+)\/([^/:]+)(?::(.+))?$/.exec(asked) ?? []
  if (named !== undefined) return routing.resolveVersion(named)
  if (owner !== undefined && name !== undefined) return routing.resolveOwned(owner, name)
  return routing.resolveVersion(asked)
}

/** The same filters at another place. */
function otherPage(c: ApiContext, cursor: string | undefined): string | null {
  if (cursor === undefined) return null
  const url = new URL(c.req.url)
  url.searchParams.set('cursor', cursor)
  return url.href
}
