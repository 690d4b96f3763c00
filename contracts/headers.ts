/** Request headers of the routes that accept predictions, as the OpenAPI document shows them. Checks nothing by itself. */
import { z } from 'zod'

const text = (description: string, example?: string) =>
  z
    .string()
    .optional()
    .meta({ description, ...(example !== undefined && { example }) })

const whom = {
  UID: text('Whom the prediction is for; a fair share of the queue is counted by it'),
  'Idempotency-Key': text('Requests with one key are one prediction; another body under it is 422'),
}
const deadline = {
  'Cancel-After': text(
    'From acceptance on: 5 s or more as 90, 90s, 5m or 1h30m. What has not ended by then is canceled',
    '5m',
  ),
}
const priority = { 'Perdure-Priority': text('1 (first) to 5; 3 if absent', '1') }
const prefer = { Prefer: text('wait[=1..60]: a workflow, and so many seconds of wait for it', 'wait=10') }

export const CreateHeaders = z.object({ ...prefer, ...whom, ...deadline, ...priority })
export const PredictHeaders = z.object({ ...prefer, ...whom, ...deadline })
export const AsyncHeaders = z.object({ ...whom, ...deadline, ...priority })
