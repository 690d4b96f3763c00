/** Bodies of the HTTP surface that are neither predictions nor records: errors, queue figures, models. */
import { z } from 'zod'
import { errorCodes } from './errors.ts'
import { platformNames } from './names.ts'

/** Error of an inherited route; further members may follow. */
export const InheritedError = z
  .object({
    error: z.string().meta({ description: 'Text; a platform failure starts with "status <number>: "' }),
    code: z.enum(errorCodes),
    id: z.string().optional().meta({ description: 'The prediction, where there is one' }),
  })
  .meta({ id: 'InheritedError' })

/** RFC 9457. */
export const Problem = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.number().int(),
    detail: z.string(),
    code: z.enum(errorCodes),
  })
  .meta({ id: 'Problem' })

export const TaskId = z.object({ id: z.string() }).meta({ id: 'TaskId' })
export const Message = z.object({ message: z.literal('API OK') }).meta({ id: 'Message' })

/** Answer of `/ready`. */
export const Ready = Message.extend({
  temporal: z
    .literal('unavailable')
    .optional()
    .meta({ description: 'Temporal does not answer: what is accepted now runs when it is back' }),
}).meta({ id: 'Ready' })
export const QueueInfo = z.object({ info: z.string() }).meta({ id: 'QueueInfo' })
export const QueueSize = z.object({ queue_size: z.number().int() }).meta({ id: 'QueueSize' })
export const DeletedTasks = z
  .object({
    num_of_deleted_tasks: z.number().int(),
    num_of_pending_tasks: z.number().int().meta({ description: 'Pending at the start' }),
  })
  .meta({ id: 'DeletedTasks' })
export const UnfinishedTasks = z
  .object({ 'num of unfinished tasks': z.number().int().meta({ description: 'Waiting and running' }) })
  .meta({ id: 'UnfinishedTasks' })

/** A line of the routing table; `owner` and `name` as Replicate's clients expect them. */
export const Model = z
  .object({
    owner: z.string(),
    name: z.string(),
    platform: z.enum(platformNames),
    protocol: z.string(),
    upstream_name: z.string().meta({ description: 'The name the model server knows' }),
    versions: z.array(z.string()),
    timeout_seconds: z.number().meta({ description: 'Longest one attempt may take' }),
    gate: z.string().nullable().meta({ description: "null = the deployment's GATE" }),
    mean_run_seconds: z.number().nullable().optional().meta({ description: 'Of the latest successes' }),
  })
  .meta({ id: 'Model' })
export type Model = z.infer<typeof Model>

/** A version of a model as Replicate's clients read it: enough for them to run it. */
export const ModelVersion = z
  .object({
    id: z.string(),
    created_at: z.string().meta({ description: 'Not known: 1970' }),
    cog_version: z.string(),
    openapi_schema: z.record(z.string(), z.unknown()).meta({ description: 'Not known: empty' }),
  })
  .meta({ id: 'ModelVersion' })
export type ModelVersion = z.infer<typeof ModelVersion>

export const ModelList = z
  .object({
    next: z.string().nullable(),
    previous: z.string().nullable(),
    results: z.array(Model),
  })
  .meta({ id: 'ModelList' })
export type ModelList = z.infer<typeof ModelList>
