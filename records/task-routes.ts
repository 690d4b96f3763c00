/** `/task` and `/task/modelstatus`: records made and changed by others (prediction-agent specification, 4.1 to 4.4). */
import { z } from 'zod'
import { ServiceError } from '../contracts/errors.ts'
import { parseJson, printJson } from '../contracts/json.ts'
import { recordText } from '../contracts/record-text.ts'
import { type PredictionStatus, predictionStatuses } from '../contracts/statuses.ts'
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
import type { StoredPrediction, TaskChange } from './store.ts'

const id = z.string().min(1).max(255)
const NewTaskBody = z.object({
  id,
  model_name: z.string().min(1),
  model_version: z.string().nullish(),
  queue_num: z.number().int().nullish(),
  status: z.enum(['', 'pending', 'running']).nullish(),
})
const TaskChangeBody = z.object({
  id,
  status: z.enum(['', ...predictionStatuses]).nullish(),
  running_time: z.string().nullish(),
  outputs: z.unknown().optional(),
  error_info: z.string().nullish(),
  queue_id: z.string().nullish(),
  database_only: z.boolean().nullish(),
})
const ModelStatusQuestion = z.object({ model_name: z.string().min(1), status: z.enum(predictionStatuses) })

/** A question may not collect more than this: 10,000 records of about 300 bytes each. */
const longestAnswer = 10_000
const pageSize = 1_000
const longestQuestionBytes = 64 * 1024

export function mountTaskRoutes(
  app: RecordServiceApp,
  { store }: RecordServiceDeps,
  settings: RecordServiceSettings,
): void {
  const { apiKey } = settings
  const limited = bodyLimited(settings)

  const create = async (c: RecordServiceContext) => {
    checkKey(c, apiKey)
    const task = checked(NewTaskBody, await c.req.text())
    const created = await store.createTask({
      id: task.id,
      modelName: task.model_name,
      modelVersion: task.model_version ?? '',
      uid: c.req.header('uid') ?? '',
      status: task.status === 'running' ? 'running' : 'pending',
      queueNum: task.queue_num ?? 0,
    })
    if (created === 'conflict') {
      throw new ServiceError('conflict', 'a task of this id exists with another model_name')
    }
    return jsonText(JSON.stringify({ id: task.id }))
  }

  const change = async (c: RecordServiceContext) => {
    checkKey(c, apiKey)
    const body = checked(TaskChangeBody, await c.req.text())
    const record = await store.updateTask(body.id, changeOf(body))
    if (record !== undefined) return jsonText(recordText(record))
    // Sent for records that have expired: there is nothing to keep up to date.
    if (body.database_only) return jsonText(JSON.stringify({ id: body.id }))
    throw new ServiceError('not_found', 'task not found')
  }

  const modelStatus = async (c: RecordServiceContext) => {
    checkKey(c, apiKey)
    const text = await questionText(c)
    const question = checked(ModelStatusQuestion, text === '' ? JSON.stringify(c.req.query()) : text)
    const found: StoredPrediction[] = []
    let cursor: string | undefined
    do {
      const page = await store.list({
        modelName: question.model_name,
        status: question.status,
        limit: pageSize,
        ...(cursor !== undefined && { cursor }),
      })
      found.push(...page.items)
      cursor = page.nextCursor
    } while (cursor !== undefined && found.length < longestAnswer)
    return jsonText(JSON.stringify(found.map(statusRow)))
  }

  app.post('/task', limited, observed(settings, '/task', create))
  app.put('/task', limited, observed(settings, '/task', change))
  app.get('/task/modelstatus', observed(settings, '/task/modelstatus', modelStatus))
}

/** For the stand-alone service; beside the API its own route of this path answers. */
export function mountTaskRead(
  app: RecordServiceApp,
  { store }: RecordServiceDeps,
  settings: RecordServiceSettings,
): void {
  async function read(c: RecordServiceContext): Promise<Response> {
    checkKey(c, settings.apiKey)
    const record = await store.get(c.req.param('id') ?? '')
    if (record === undefined) throw new ServiceError('not_found', 'task not found')
    return jsonText(recordText(record))
  }

  app.get('/task/:id', observed(settings, '/task/:id', read))
}

function checked<Schema extends z.ZodType>(schema: Schema, text: string): z.output<Schema> {
  let body: unknown
  try {
    body = parseJson(text)
  } catch (cause) {
    throw new ServiceError('invalid_input', 'the request body is not valid JSON', { cause })
  }
  const parsed = schema.safeParse(body)
  if (parsed.success) return parsed.data
  const faults = parsed.error.issues.map(({ path, message }) => `${path.join('.') || 'body'}: ${message}`)
  throw new ServiceError('invalid_input', faults.join('; '))
}

/** Empty, null and absent leave a field as it is. */
function changeOf(body: z.output<typeof TaskChangeBody>): TaskChange {
  const status: PredictionStatus | undefined = body.status || undefined
  const hasOutputs = body.outputs !== undefined && body.outputs !== null && body.outputs !== ''
  return {
    ...(status !== undefined && { status }),
    ...(body.running_time && { runningTime: body.running_time }),
    ...(hasOutputs && { outputs: printJson(body.outputs) }),
    ...(body.error_info && { errorInfo: body.error_info }),
    ...(body.queue_id && { queueId: body.queue_id }),
  }
}

/** The body of a GET request, which fetch's `Request` cannot have: read from Node's request itself. */
async function questionText(c: RecordServiceContext): Promise<string> {
  const incoming = c.env?.incoming
  if (incoming === undefined) return ''
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > longestQuestionBytes) throw new ServiceError('payload_too_large', 'the question is too long')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

function statusRow(record: StoredPrediction) {
  const seconds = Number.parseFloat(record.runningTime)
  return {
    id: record.seq,
    task_id: record.id,
    user_id: record.uid,
    model_name: record.modelName,
    created_at: record.createdAt,
    updated_at: record.endedAt ?? record.startedAt ?? record.createdAt,
    running_time: Number.isNaN(seconds) ? null : seconds,
    status: record.status,
  }
}
