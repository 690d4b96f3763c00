/** `/tracking` and `/model-endpoints`: what model servers say of themselves (model-server specification, 5), kept and shown. */
import { z } from 'zod'
import { ServiceError } from '../contracts/errors.ts'
import { parseJson, printJson } from '../contracts/json.ts'
import {
  bodyLimited,
  checkKey,
  jsonText,
  observed,
  type RecordServiceApp,
  type RecordServiceContext,
  type RecordServiceDeps,
  type RecordServiceSettings,
} from './service.ts'
import type { NewTrackingRecord } from './tracking.ts'

/** Further members stay as they are. Records of an error stream name no model. */
const TrackingRecord = z.looseObject({
  model: z.string().default(''),
  version: z.string().default(''),
  function_uri: z.string().default(''),
  error: z.unknown().optional(),
  source: z.unknown().optional(),
})
const TrackingRecords = z.union([z.array(TrackingRecord).max(10_000), TrackingRecord])
const name = z.string().min(1).max(255)
const ModelEndpoint = z.looseObject({
  kind: z.literal('model-endpoint'),
  metadata: z.looseObject({ project: name, uid: name }),
  spec: z.looseObject({ model: name }),
})
const EndpointAttributes = z.strictObject({
  model_uri: z.string().optional(),
  monitoring_mode: z.enum(['enabled', 'disabled']).optional(),
})
const Page = z.object({
  project: z.string().optional(),
  model: z.string().optional(),
  version: z.string().optional(),
  failed: z.stringbool().optional(),
  before: z.coerce.number().int().positive().optional(),
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
})
const mostEndpoints = 1_000

export function mountTrackingRoutes(
  app: RecordServiceApp,
  { store: { tracking } }: RecordServiceDeps,
  settings: RecordServiceSettings,
): void {
  const { apiKey } = settings
  const limited = bodyLimited(settings)

  const append = async (c: RecordServiceContext) => {
    checkKey(c, apiKey)
    const sent = checked(TrackingRecords, await bodyOf(c))
    const records = Array.isArray(sent) ? sent : [sent]
    await tracking.append(records.map(newRecord))
    return jsonText(JSON.stringify({ stored: records.length }))
  }

  const list = async (c: RecordServiceContext) => {
    checkKey(c, apiKey)
    const { limit, ...filter } = checked(Page, c.req.query())
    const found = await tracking.list({ limit, ...given(filter) })
    const records = found.map(
      ({ seq, createdAt, body }) => `{"seq":${seq},"created_at":"${createdAt}","record":${body}}`,
    )
    const next = found.length < limit ? null : (found.at(-1)?.seq ?? null)
    return jsonText(`{"records":[${records.join(',')}],"next":${next}}`)
  }

  const create = async (c: RecordServiceContext) => {
    checkKey(c, apiKey)
    const endpoint = checked(ModelEndpoint, await bodyOf(c))
    const { project, uid } = endpoint.metadata
    const { model } = endpoint.spec
    if (await tracking.createEndpoint({ project, uid, model, body: printJson(endpoint) }))
      return jsonText(JSON.stringify({ project, uid }))
    throw new ServiceError('conflict', 'a model endpoint of this project and uid exists')
  }

  const listEndpoints = async (c: RecordServiceContext) => {
    checkKey(c, apiKey)
    const found = await tracking.endpoints(c.req.query('project') ?? '', mostEndpoints)
    return jsonText(`{"endpoints":[${found.join(',')}]}`)
  }

  const show = async (c: RecordServiceContext) => {
    checkKey(c, apiKey)
    const { project, uid } = keyOf(c)
    return endpointAnswer(await tracking.endpoint(project, uid))
  }

  const patch = async (c: RecordServiceContext) => {
    checkKey(c, apiKey)
    const { project, uid } = keyOf(c)
    const attributes = checked(EndpointAttributes, await bodyOf(c))
    return endpointAnswer(await tracking.patchEndpoint(project, uid, given(attributes)))
  }

  const one = '/model-endpoints/:project/:uid'
  app.post('/tracking', limited, observed(settings, '/tracking', append))
  app.get('/tracking', observed(settings, '/tracking', list))
  app.post('/model-endpoints', limited, observed(settings, '/model-endpoints', create))
  app.get('/model-endpoints', observed(settings, '/model-endpoints', listEndpoints))
  app.get(one, observed(settings, one, show))
  app.patch(one, limited, observed(settings, one, patch))
}

function newRecord(record: z.output<typeof TrackingRecord>): NewTrackingRecord {
  const { model, version, function_uri: uri, error, source } = record
  const project = uri.split('/', 1)[0] ?? ''
  return {
    project,
    model,
    version,
    failed: error !== undefined || source === '_handler',
    body: printJson(record),
  }
}

function keyOf(c: RecordServiceContext): { project: string; uid: string } {
  return { project: c.req.param('project') ?? '', uid: c.req.param('uid') ?? '' }
}

function endpointAnswer(body: string | undefined): Response {
  if (body === undefined) throw new ServiceError('not_found', 'model endpoint not found')
  return jsonText(body)
}

async function bodyOf(c: RecordServiceContext): Promise<unknown> {
  try {
    return parseJson(await c.req.text())
  } catch (cause) {
    throw new ServiceError('invalid_input', 'the request body is not valid JSON', { cause })
  }
}

function checked<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const faults = parsed.error.issues.map(({ path, message }) => `${path.join('.') || 'body'}: ${message}`)
  throw new ServiceError('invalid_input', faults.join('; '))
}

type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> }

/** Without the members that were not sent. */
function given<T extends object>(value: T): Given<T> {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as Given<T>
}
