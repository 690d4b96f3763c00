/** `POST /async/v1/predict`: accepts a prediction durably and answers with its id. */
import { createRoute } from '@hono/zod-openapi'
import { AsyncHeaders } from '../../contracts/headers.ts'
import { TaskId } from '../../contracts/http.ts'
import { PredictRequest } from '../../contracts/predictions.ts'
import { acceptAsked, askedIn } from '../accept.ts'
import { readJsonObject } from '../body.ts'
import type { ApiDeps, ApiSettings } from '../deps.ts'
import { inheritedErrors, jsonRequest, ok } from '../described.ts'
import { openGate } from '../gate.ts'
import { jsonText } from '../record.ts'
import { type Api, mount } from '../surface.ts'

const route = createRoute({
  method: 'post',
  path: '/async/v1/predict',
  summary: 'Accept a prediction',
  request: { headers: AsyncHeaders, ...jsonRequest(PredictRequest) },
  responses: {
    200: ok(TaskId, 'Accepted; GET /task/{id} finds it from now on'),
    ...inheritedErrors(400, 403, 404, 413, 422, 429, 503),
  },
})

export function mountAsyncPredict(app: Api, deps: ApiDeps, settings: ApiSettings): void {
  const { service, routing, gate = openGate } = deps
  mount(app, deps, route, 'inherited', async (c) => {
    const asked = askedIn(await readJsonObject(c, settings.maxBodyBytes))
    const request = acceptAsked(c, asked, routing, settings.uploadWebhook)
    return gate.serve(request.target, async () => {
      const { id } = await service.submit(request)
      return jsonText(`{"id":"${id}"}`)
    })
  })
}
