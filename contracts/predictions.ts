/** Predictions on the wire: the inherited request and record (prediction-agent specification, 2.1 and 4.3). */
import { z } from 'zod'
import { type PredictionStatus, terminalStatuses } from './statuses.ts'

export { type PredictionStatus, terminalStatuses }

/** `inputs` keeps numbers digit for digit: values may be `JSON.rawJSON` objects, see json.ts. */
export const PredictRequest = z
  .object({
    model_name: z.string().min(1).meta({ description: 'Model to call', example: 'iris' }),
    inputs: z
      .record(z.string(), z.unknown())
      .meta({ description: 'What the model gets', example: { inputs: [[5.1, 3.5, 1.4, 0.2]] } }),
  })
  .meta({ id: 'PredictRequest' })
export type PredictRequest = z.infer<typeof PredictRequest>

/** Exactly the ten keys of the inherited record, in this order. */
export const TaskRecord = z
  .object({
    id: z.string(),
    model_name: z.string(),
    model_version: z.string(),
    status: z.enum(['pending', 'running', 'succeeded', 'failed', 'canceled']),
    running_time: z.string().meta({ description: 'Seconds, usually with suffix s; empty until known' }),
    error_info: z.string(),
    created_at: z.string().meta({ description: 'RFC 3339 in UTC' }),
    outputs: z.unknown().meta({ description: 'Any JSON; null until known' }),
    queue_num: z.number().int().meta({ description: 'Predictions waiting when this one was accepted' }),
    queue_id: z.string().meta({ description: 'Workflow id of the flight; empty for direct calls' }),
  })
  .meta({ id: 'TaskRecord' })
export type TaskRecord = z.infer<typeof TaskRecord>
