/** `GET /v1/models…`: the routing table as callers may see it. Shows no addresses. */
import { createRoute } from '@hono/zod-openapi'
import { z } from 'zod'
import { Model, ModelList, ModelVersion } from '../../contracts/http.ts'
import { ownedName } from '../../contracts/prediction-text.ts'
import type { ModelRoute } from '../../platforms/routing.ts'
import type { ApiDeps } from '../deps.ts'
import { ok, problems } from '../described.ts'
import { json } from '../record.ts'
import { type Api, type ApiContext, mount } from '../surface.ts'

const listRoute = createRoute({
  method: 'get',
  path: '/v1/models',
  summary: 'The models of the models file',
  description: 'A platform that serves every name (`ML_PLATFORM` alone) has no list.',
  responses: { 200: ok(ModelList, 'All of them, on one page') },
})

const nameRoute = createRoute({
  method: 'get',
  path: '/v1/models/{name}',
  summary: 'One model',
  request: { params: z.object({ name: z.string() }) },
  responses: { 200: ok(Model, 'Its line, and how it did lately'), ...problems(400, 404, 503) },
})

const ownedRoute = createRoute({
  method: 'get',
  path: '/v1/models/{owner}/{name}',
  summary: 'One model, named as Replicate does',
  request: { params: z.object({ owner: z.string(), name: z.string() }) },
  responses: { 200: ok(Model, 'Its line, and how it did lately'), ...problems(400, 404, 503) },
})

const versionRoute = createRoute({
  method: 'get',
  path: '/v1/models/{owner}/{name}/versions/{version}',
  summary: 'One version of a model',
  description:
    "Replicate's client for Python asks for it before it gives the output of `owner/name:version`.",
  request: { params: z.object({ owner: z.string(), name: z.string(), version: z.string() }) },
  responses: { 200: ok(ModelVersion, 'It can be run'), ...problems(400, 404) },
})

export function mountModels(app: Api, deps: ApiDeps): void {
  const { routing, store } = deps

  mount(app, deps, listRoute, 'modern', () => {
    return json({ next: null, previous: null, results: routing.list().map(modelOf) } satisfies ModelList)
  })

  async function described(model: ModelRoute): Promise<Response> {
    const meanMs = await store.meanRunMs(model.name)
    return json({
      ...modelOf(model),
      mean_run_seconds: meanMs === undefined ? null : meanMs / 1000,
    } satisfies Model)
  }
  const param = (c: ApiContext, name: string) => c.req.param(name) ?? ''
  mount(app, deps, nameRoute, 'modern', (c) => described(routing.resolve(param(c, 'name'))))
  mount(app, deps, ownedRoute, 'modern', (c) =>
    described(routing.resolveOwned(param(c, 'owner'), param(c, 'name'))),
  )
  mount(app, deps, versionRoute, 'modern', (c) => {
    const version = param(c, 'version')
    routing.resolveVersion(version)
    return json({
      id: version,
      created_at: new Date(0).toISOString(),
      cog_version: '',
      openapi_schema: {},
    } satisfies ModelVersion)
  })
}

function modelOf(model: ModelRoute): Model {
  return {
    ...ownedName(model.name),
    platform: model.platform,
    protocol: model.protocol,
    upstream_name: model.upstreamName,
    versions: [...model.versions],
    timeout_seconds: model.timeoutMs / 1000,
    gate: model.gate ?? null,
  }
}
