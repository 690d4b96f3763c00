/** `/v1/blessings…`: the verdicts that the gate reads, and their revocation. */
import { createRoute } from '@hono/zod-openapi'
import { z } from 'zod'
import { ServiceError } from '../../contracts/errors.ts'
import { type Verdict, verdicts } from '../../contracts/validation-verdict.ts'
import { BlessingList, BlessingView, Revocation } from '../../contracts/validation-wire.ts'
import type { StoredBlessing } from '../../records/store.ts'
import { readText } from '../body.ts'
import type { ApiDeps, ApiSettings } from '../deps.ts'
import { jsonRequest, ok, problems } from '../described.ts'
import { json } from '../record.ts'
import { type Api, type ApiContext, mount } from '../surface.ts'
import type { ValidationService } from '../validations.ts'
import { pageOf, pageQuery, partOf } from './pages.ts'

const params = z.object({ id: z.string() })

const listRoute = createRoute({
  method: 'get',
  path: '/v1/blessings',
  summary: 'Blessing records, newest first',
  request: {
    query: pageQuery.extend({ model_name: z.string().optional(), verdict: z.enum(verdicts).optional() }),
  },
  responses: { 200: ok(BlessingList, 'A page'), ...problems(400, 503) },
})
const getRoute = createRoute({
  method: 'get',
  path: '/v1/blessings/{id}',
  summary: 'One blessing record',
  request: { params },
  responses: { 200: ok(BlessingView, 'The record'), ...problems(404, 503) },
})
const revokeRoute = createRoute({
  method: 'post',
  path: '/v1/blessings/{id}/revoke',
  summary: 'Revoke a blessing',
  description: 'The gate refuses what rests on it within a second. A second revocation changes nothing.',
  request: { params, ...jsonRequest(Revocation, false) },
  responses: { 200: ok(BlessingView, 'The record, revoked'), ...problems(400, 404, 503) },
})

export function mountBlessings(
  app: Api,
  deps: ApiDeps,
  settings: ApiSettings,
  { store }: Pick<ValidationService, 'store'>,
): void {
  const idOf = (c: ApiContext) => c.req.param('id') ?? ''

  mount(app, deps, listRoute, 'modern', async (c) => {
    const part = partOf(c)
    const modelName = c.req.query('model_name')
    const verdict = verdictIn(c.req.query('verdict'))
    const found = await store.blessings({
      ...part,
      ...(modelName !== undefined && { modelName }),
      ...(verdict !== undefined && { verdict }),
    })
    return json(pageOf(c, part, found, viewOf))
  })

  mount(app, deps, getRoute, 'modern', async (c) => json(viewOf(required(await store.blessing(idOf(c))))))

  mount(app, deps, revokeRoute, 'modern', async (c) => {
    const reason = await reasonIn(c, settings.maxBodyBytes)
    return json(viewOf(required(await store.revoke(idOf(c), reason))))
  })
}

function required(found: StoredBlessing | undefined): StoredBlessing {
  if (found !== undefined) return found
  throw new ServiceError('not_found', 'blessing not found')
}

function verdictIn(given: string | undefined): Verdict | undefined {
  const verdict = verdicts.find((one) => one === given)
  if (given === undefined || verdict !== undefined) return verdict
  throw new ServiceError('invalid_input', `verdict must be one of ${verdicts.join(', ')}`)
}

async function reasonIn(c: ApiContext, maxBytes: number): Promise<string> {
  const text = await readText(c, maxBytes)
  if (text.trim() === '') return ''
  try {
    return Revocation.parse(JSON.parse(text)).reason
  } catch (cause) {
    throw new ServiceError('invalid_input', 'the request body must be {"reason": "<text>"}', { cause })
  }
}

function viewOf({ blessing, revokedAt, revokedReason }: StoredBlessing) {
  return { ...blessing, revokedAt, revokedReason }
}
