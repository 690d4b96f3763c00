/** Predictions as Replicate's clients know them (prediction-agent specification, 10.1; design, section 11). */
import { z } from 'zod'
import { objectWords } from './prediction-text.ts'

export const objectStatuses = Object.values(objectWords)

const webhookEvents = ['start', 'output', 'logs', 'completed'] as const

export const PredictionObject = z
  .object({
    id: z.string(),
    model: z.string().meta({ description: 'owner/name; the owner of models without one is perdure' }),
    version: z.string(),
    input: z.record(z.string(), z.unknown()).nullable(),
    output: z
      .unknown()
      .meta({ description: 'While it runs, what a provider has given so far; null if nothing' }),
    logs: z.string(),
    error: z.string().nullable().meta({ description: 'Why it failed, or ended at its deadline' }),
    code: z.string().optional().meta({
      description:
        'Of what failed or was canceled; `prediction_aborted`: its deadline passed before it began',
    }),
    status: z.enum(objectStatuses),
    source: z.literal('api'),
    data_removed: z.boolean(),
    created_at: z.string(),
    started_at: z.string().nullable(),
    completed_at: z.string().nullable(),
    deadline: z
      .string()
      .optional()
      .meta({ description: 'Of `Cancel-After`: not ended by then, it is canceled' }),
    metrics: z.object({
      predict_time: z.number().optional().meta({ description: 'Seconds' }),
      total_time: z.number().optional().meta({ description: 'Seconds' }),
    }),
    urls: z.object({ get: z.string(), cancel: z.string(), stream: z.string() }),
    webhook: z.string().optional().meta({ description: 'Address that is told of the events' }),
    webhook_events_filter: z.array(z.enum(webhookEvents)).optional(),
    retry_of: z.string().optional().meta({ description: 'The prediction whose input it repeats' }),
  })
  .meta({ id: 'Prediction' })

export const PredictionList = z
  .object({
    next: z.string().nullable(),
    previous: z.string().nullable(),
    results: z.array(PredictionObject),
  })
  .meta({ id: 'PredictionList' })

export const CreatePrediction = z
  .object({
    version: z
      .string()
      .optional()
      .meta({ description: "A model's name or one of its versions", example: 'iris' }),
    model: z.string().optional().meta({ description: 'owner/name, in place of version' }),
    input: z
      .record(z.string(), z.unknown())
      .meta({ description: 'What the model gets', example: { inputs: [[5.1, 3.5, 1.4, 0.2]] } }),
    webhook: z.string().optional().meta({ description: 'Address that is told of the events; https' }),
    webhook_events_filter: z
      .array(z.enum(webhookEvents))
      .optional()
      .meta({ description: 'Absent = all events' }),
  })
  .meta({ id: 'CreatePrediction' })

export const CreateOwnedPrediction = CreatePrediction.pick({
  input: true,
  webhook: true,
  webhook_events_filter: true,
}).meta({
  id: 'CreateOwnedPrediction',
})
