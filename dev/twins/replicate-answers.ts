/** The bodies a Replicate twin answers with: the prediction object and the errors. Owns no state. */
import { disguised, type TwinJob } from './job.ts'

export interface Prediction {
  job: TwinJob
  model: string
  version: string
  webhook?: { url: string; events: ReadonlySet<string> }
}

export function predictionBody(
  { job, model, version, webhook }: Prediction,
  origin: string,
): Record<string, unknown> {
  const self = `${origin}/v1/predictions/${job.id}`
  const { scenario, startedAt, endedAt, phase, expired, chunks } = job
  const made = phase === 'succeeded' ? job.output : chunks.length > 0 ? chunks : null
  const body: Record<string, unknown> = {
    id: job.id,
    model,
    version,
    input: expired ? null : job.input,
    output: expired ? null : made,
    logs: expired ? null : startedAt === undefined ? '' : (scenario.logs ?? ''),
    error: phase === 'failed' ? job.error : null,
    status: words[phase],
    source: 'api',
    data_removed: expired,
    created_at: job.createdAt.toISOString(),
    started_at: startedAt?.toISOString() ?? null,
    completed_at: endedAt?.toISOString() ?? null,
    metrics: metricsOf(job),
    urls: {
      get: self,
      cancel: `${self}/cancel`,
      web: `${origin}/p/${job.id}`,
      ...(scenario.chunks === undefined ? {} : { stream: `${origin}/v1/stream/${job.id}` }),
    },
    ...(webhook && { webhook: webhook.url, webhook_events_filter: Array.from(webhook.events) }),
  }
  return disguised(job, body)
}

const words = {
  queued: 'starting',
  running: 'processing',
  succeeded: 'succeeded',
  failed: 'failed',
  canceled: 'canceled',
  aborted: 'aborted',
  timed_out: 'canceled',
} as const

function metricsOf({ startedAt, endedAt, createdAt, phase }: TwinJob): Record<string, number> {
  if (phase !== 'succeeded' || startedAt === undefined || endedAt === undefined) return {}
  const seconds = (from: Date) => (endedAt.getTime() - from.getTime()) / 1000
  return { predict_time: seconds(startedAt), total_time: seconds(createdAt) }
}

export const unauthorized = {
  title: 'Unauthenticated',
  detail: 'You did not pass a valid authentication token',
  status: 401,
}

export const notFound = { detail: 'The requested resource could not be found.', status: 404 }

export function invalid(field: string, description: string): unknown {
  const title = 'Input validation failed'
  return {
    title,
    detail: `- ${field}: ${description}\n`,
    status: 422,
    invalid_fields: [{ field, description }],
  }
}

export function throttled(seconds: number): unknown {
  return { detail: `Request was throttled. Your rate limit resets in ~${seconds}s.`, status: 429 }
}

export function problem(status: number): unknown {
  return { title: 'Error', detail: `answered ${status} on order`, status }
}
