/** `POST /v1/predict`: one prediction, answered when it is done. `Prefer: wait[=n]` makes it a flight and a wait. */
import { createRoute } from '@hono/zod-openapi'
import { ServiceError } from '../../contracts/errors.ts'
import { PredictHeaders } from '../../contracts/headers.ts'
import { PredictRequest, TaskRecord } from '../../contracts/predictions.ts'
import { isTerminal } from '../../contracts/statuses.ts'
import type { StoredPrediction } from '../../records/store.ts'
import { acceptAsked, askedIn } from '../accept.ts'
import { readJsonObject } from '../body.ts'
import type { ApiDeps, ApiSettings } from '../deps.ts'
import { inheritedErrors, jsonRequest, ok } from '../described.ts'
import { openGate } from '../gate.ts'
import { outcomeResponse } from '../outcome.ts'
import type { AcceptedRequest, PredictionService } from '../predictions.ts'
import { waitMsOf } from '../prefer.ts'
import { type Api, mount } from '../surface.ts'

const route = createRoute({
  method: 'post',
  path: '/v1/predict',
  summary: 'Predict and wait for the answer',
  description: 'With `Prefer: wait` or `Cancel-After` it is run as a workflow.',
  request: { headers: PredictHeaders, ...jsonRequest(PredictRequest) },
  responses: {
    200: ok(TaskRecord, 'Succeeded'),
    202: ok(TaskRecord, 'The wait ran out; the prediction goes on'),
    ...inheritedErrors(400, 403, 404, 409, 413, 422, 429, 500, 501, 502, 503, 504),
  },
})

export function mountPredict(app: Api, deps: ApiDeps, settings: ApiSettings): void {
  const { service, routing, metrics, gate = openGate } = deps
  mount(app, deps, route, 'inherited', async (c) => {
    const asked = askedIn(await readJsonObject(c, settings.maxBodyBytes))
    const request = acceptAsked(c, asked, routing, settings.uploadWebhook)
    const waitMs = waitMsOf(c.req.header('prefer'))
    return gate.serve(request.target, async () => {
      const record = await (waitMs === undefined
        ? service.predict(request)
        : flyAndWait(service, request, waitMs))
      // A flight is counted by the process that flew it, a cancel by the one that took it.
      if (record.queueId === '' && isTerminal(record.status) && record.status !== 'canceled')
        metrics.finished({ ...record, status: record.status })
      return outcomeResponse(record)
    })
  })
}

async function flyAndWait(
  service: PredictionService,
  request: AcceptedRequest,
  waitMs: number,
): Promise<StoredPrediction> {
  const { id } = await service.submit(request)
  const record = await service.waitFor(id, waitMs)
  if (record === undefined) throw new ServiceError('internal', 'the record of this prediction has gone')
  return record
}
