/** The OpenAPI 3.1 document of a server: every path it answers, made from its routes at the moment of asking. */

import { VotingEnsemble } from './ensemble.ts'
import type { ServedModels } from './http/served-models.ts'
import { customOperations, type V2ModelServer } from './model.ts'
import { type SchemaName, schemas } from './openapi-schemas.ts'
import type { Route } from './routes.ts'

interface Operation {
  readonly summary: string
  readonly request?: SchemaName
  readonly answer?: SchemaName
  /** Media type of the answer; default JSON. */
  readonly type?: string
}

type Paths = Record<string, Record<string, object>>

export function openapiDocument(server: ServedModels): object {
  const { name = 'perdure', version = '' } = server.options
  const paths: Paths = {}
  addServerPaths(paths, server)
  if (server.router === undefined) {
    for (const { host } of server.routes.listed())
      if (host) addModelPaths(paths, '', host.protocol, host.model, server)
  } else {
    addRouterPaths(paths, server, server.router.urlPrefix, server.router.healthPrefix)
  }
  return {
    openapi: '3.1.0',
    info: { title: name, version: version || '0' },
    servers: [{ url: '/' }],
    tags: tags.map(([tag, description]) => ({ name: tag, description })),
    paths,
    components: { schemas },
  }
}

const tags = [
  ['Inference', 'The models, each in its own protocol: infer, explain, generate, metadata, readiness'],
  ['KServe V1', 'The same models by instances and predictions'],
  ['Repository', 'Models and their states; load, reload and unload'],
  ['Server', 'Health, metrics, this document'],
] as const

function tagOf(path: string): (typeof tags)[number][0] {
  if (path.startsWith('/v1/models')) return 'KServe V1'
  if (path.startsWith('/v2/repository')) return 'Repository'
  return serverPaths.has(path) ? 'Server' : 'Inference'
}

const serverPaths = new Set([
  '/v2',
  '/v2/health/live',
  '/v2/health/ready',
  '/metrics',
  '/openapi.json',
  '/docs',
])

function addServerPaths(paths: Paths, server: ServedModels): void {
  const get = (path: string, operation: Operation) => add(paths, path, 'get', operation)
  const post = (path: string, operation: Operation) => add(paths, path, 'post', operation)
  get('/v2', { summary: 'Name, version and extensions of the server', answer: 'ServerMetadata' })
  get('/v2/health/live', { summary: 'Whether the process answers', answer: 'Live' })
  get('/v2/health/ready', { summary: 'Whether every model is ready', answer: 'Ready' })
  get('/metrics', { summary: 'Prometheus metrics', type: 'text/plain' })
  get('/openapi.json', { summary: 'This document' })
  if (server.router !== undefined) get('/docs', { summary: 'This document as a page', type: 'text/html' })
  if (server.options.repositoryApi !== false) {
    post('/v2/repository/index', {
      summary: 'Models and their states',
      request: 'Any',
      answer: 'RepositoryIndex',
    })
    post('/v2/repository/models/{model}/load', {
      summary: 'Load or reload a model',
      answer: 'Loaded',
    })
    post('/v2/repository/models/{model}/unload', {
      summary: 'Take a model out',
      answer: 'Unloaded',
    })
  }
  if (server.router?.urlPrefix !== '/v1/models') {
    get('/v1/models', { summary: 'Models', answer: 'Models' })
    get('/v1/models/{model}', { summary: 'Whether a model is ready', answer: 'ModelReady' })
  }
  post('/v1/models/{model}:predict', {
    summary: 'Predict (KServe V1)',
    request: 'Instances',
    answer: 'Predictions',
  })
  post('/v1/models/{model}:explain', { summary: 'Explain (KServe V1)', request: 'Instances' })
  post('/v1/models/{model}:generate', {
    summary: 'Stream what the model generates',
    request: 'Any',
    type: 'application/x-ndjson',
  })
}

function addRouterPaths(paths: Paths, server: ServedModels, prefix: string, health: string): void {
  add(paths, '/', 'get', { summary: 'Name of the router', answer: 'ServerMetadata' })
  add(paths, '/', 'post', {
    summary: 'Infer with the model the body names, else the first',
    request: 'Request',
    answer: 'Answer',
  })
  add(paths, health, 'get', { summary: 'Health of the router', answer: 'ServerMetadata' })
  add(paths, prefix, 'get', { summary: 'Route keys', answer: 'Models' })
  const routes = server.routes.listed()
  for (const protocol of new Set(
    routes.filter(({ host }) => host !== undefined).map((route) => route.protocol),
  )) {
    const own = routes.filter((route) => route.protocol === protocol)
    const anyOf = (method: (route: Route) => boolean) => own.find(method)?.host?.model
    const model = anyOf(({ host }) => host?.model.generate !== undefined) ?? anyOf(() => true)
    if (model === undefined) continue
    addModelPaths(paths, `${prefix}/{model}`, protocol, model, server, false)
    if (own.some(({ version }) => version !== '')) {
      addModelPaths(paths, `${prefix}/{model}/versions/{version}`, protocol, model, server, false)
    }
  }
  for (const { key, version, name, host } of routes) {
    const at =
      version === '' ? `${prefix}/${encodeURIComponent(key)}` : `${prefix}/${name}/versions/${version}`
    if (host === undefined) add(paths, at, 'post', { summary: `Route ${key}`, request: 'Any' })
    else addCustom(paths, at, host.model)
  }
  if (server.router instanceof VotingEnsemble) {
    for (const op of ['infer', 'predict', 'explain']) {
      const vote = { summary: `Vote of all models (${op})`, request: 'Request', answer: 'Answer' } as const
      add(paths, `${prefix}/${op}`, 'post', vote)
    }
  }
}

/** `base` is empty where the one model is mounted at `/`. */
function addModelPaths(
  paths: Paths,
  base: string,
  protocol: string,
  model: V2ModelServer<object>,
  server: ServedModels,
  custom = true,
): void {
  const oip = protocol === 'oip'
  const request = oip ? 'InferRequest' : 'Request'
  const answer = oip ? 'InferAnswer' : 'Answer'
  add(paths, base || '/', 'get', { summary: 'Metadata', answer: 'Metadata' })
  add(paths, base || '/', 'post', { summary: 'Infer, or the operation that the body names', request, answer })
  add(paths, `${base}/ready`, 'get', {
    summary: 'Whether the model is ready',
    ...(oip ? { answer: 'ModelReady' } : { type: 'text/plain' }),
  })
  add(paths, `${base}/infer`, 'post', { summary: 'Infer', request, answer })
  add(paths, `${base}/explain`, 'post', { summary: 'Explain', request, answer: 'Answer' })
  if (!oip) add(paths, `${base}/predict`, 'post', { summary: 'Infer, by its other name', request, answer })
  if (!oip && server.options.dictOps === true) {
    for (const op of ['infer_dict', 'predict_dict']) {
      add(paths, `${base}/${op}`, 'post', { summary: 'Infer from objects', request: 'DictRequest', answer })
    }
  }
  if (oip || model.generate !== undefined) {
    const text = { summary: 'Generate text', request: 'GenerateRequest', answer: 'GenerateAnswer' } as const
    add(paths, `${base}/generate`, 'post', text)
    add(paths, `${base}/generate_stream`, 'post', {
      ...text,
      summary: 'Generate text, chunk by chunk',
      type: 'text/event-stream',
    })
  }
  if (custom) addCustom(paths, base, model)
}

function addCustom(paths: Paths, base: string, model: V2ModelServer<object>): void {
  for (const op of customOperations(model)) {
    add(paths, `${base}/${op}`, 'get', { summary: `Custom operation ${op}` })
    add(paths, `${base}/${op}`, 'post', { summary: `Custom operation ${op}`, request: 'Any' })
  }
}

function add(paths: Paths, path: string, method: 'get' | 'post', operation: Operation): void {
  const { summary, request, answer = 'Any', type = 'application/json' } = operation
  const schema = type === 'application/json' ? ref(answer) : { type: 'string' }
  const names = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name)
  const item = paths[path] ?? {}
  // Models of two protocols share their templates; the first one described stands.
  if (item[method] !== undefined) return
  item[method] = {
    summary,
    tags: [tagOf(path)],
    ...(names.length === 0
      ? {}
      : {
          parameters: names.map((name) => ({ name, in: 'path', required: true, schema: { type: 'string' } })),
        }),
    ...(request === undefined
      ? {}
      : { requestBody: { content: { 'application/json': { schema: ref(request) } } } }),
    responses: {
      200: { description: 'Success', content: { [type]: { schema } } },
      default: {
        description: 'Protocol v2: text `<Class>: <message>`; everything else: JSON',
        content: {
          'application/json': { schema: ref('Error') },
          'text/plain': { schema: { type: 'string' } },
        },
      },
    },
  }
  paths[path] = item
}

function ref(name: SchemaName): object {
  return { $ref: `#/components/schemas/${name}` }
}
