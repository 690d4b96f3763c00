/** The stored prediction as Replicate's object: words, times and addresses. Payloads are spliced in as text. */
import { isJsonObject, parseJson, printJson } from './json.ts'
import type { PlatformName } from './names.ts'
import type { ShownRecord } from './record-text.ts'
import { isTerminal, type PredictionStatus } from './statuses.ts'

/** Replicate's clients know no other words: at one of ours `wait` would poll for ever, or raise. */
export const objectWords = {
  pending: 'starting',
  running: 'processing',
  succeeded: 'succeeded',
  failed: 'failed',
  canceled: 'canceled',
} as const satisfies Record<PredictionStatus, string>

/** The fields of a stored prediction that the object shows. */
export interface ShownPrediction extends ShownRecord {
  errorCode: string
  platform: PlatformName
  /** JSON text of the output so far, while it is not whole. */
  partial: string
  logs: string
  deadlineAt: string | null
  /** Empty = it repeats none. */
  retryOf: string
  webhook?: { url: string; events: readonly string[] }
  startedAt: string | null
  endedAt: string | null
}

/** Owner of models whose name has none. */
const houseOwner = 'perdure'

/** `owner/name` as Replicate's clients split it. */
export function ownedName(modelName: string): { owner: string; name: string } {
  const slash = modelName.indexOf('/')
  return slash > 0
    ? { owner: modelName.slice(0, slash), name: modelName.slice(slash + 1) }
    : { owner: houseOwner, name: modelName }
}

/** JSON text of the output: job platforms wrap it as `{"output": …}`. */
export function outputText({ platform, outputs, partial, status }: ShownPrediction): string {
  if (status !== 'succeeded') return partial
  if (platform !== 'replicate' && platform !== 'runpod') return outputs
  const wrapped = parseJson(outputs)
  return isJsonObject(wrapped) ? printJson(wrapped.output ?? null) : outputs
}

/** The caller's own input: the address for uploads is ours, and may hold a token. */
function inputText(inputs: string | undefined): string {
  if (inputs === undefined) return 'null'
  if (!inputs.includes('"upload_webhook"')) return inputs
  const parsed = parseJson(inputs)
  if (!isJsonObject(parsed)) return inputs
  const { upload_webhook: _, ...rest } = parsed
  return printJson(rest)
}

function seconds(from: string, to: string): number {
  return Math.max(0, Date.parse(to) - Date.parse(from)) / 1000
}

/** A cancel may have a reason too: its deadline, or a caller that left. */
function errorOf({ status, errorInfo }: ShownPrediction): string | null {
  if (status === 'failed') return errorInfo || 'failed'
  return (status === 'canceled' && errorInfo) || null
}

/** JSON text of the object. `inputs` is the stored text, undefined once it has expired; `origin` is the caller's way in. */
export function objectText(record: ShownPrediction, inputs: string | undefined, origin: string): string {
  const { id, modelName, modelVersion, status, createdAt, startedAt, endedAt } = record
  const { logs, deadlineAt, webhook, retryOf } = record
  const { owner, name } = ownedName(modelName)
  const self = `${origin}/v1/predictions/${id}`
  const ended = isTerminal(status) ? endedAt : null
  const head = { id, model: `${owner}/${name}`, version: modelVersion || name }
  const tail = {
    logs,
    error: errorOf(record),
    code: record.errorCode || undefined,
    status: objectWords[status],
    source: 'api',
    data_removed: inputs === undefined,
    created_at: createdAt,
    started_at: startedAt,
    completed_at: ended,
    ...(deadlineAt !== null && { deadline: deadlineAt }),
    metrics: {
      ...(ended !== null && startedAt !== null && { predict_time: seconds(startedAt, ended) }),
      ...(ended !== null && { total_time: seconds(createdAt, ended) }),
    },
    // Replicate's client for Python ends at an event whose name it does not know.
    urls: { get: self, cancel: `${self}/cancel`, stream: `${self}/events?only=output,error,done` },
    ...(webhook !== undefined && { webhook: webhook.url, webhook_events_filter: webhook.events }),
    ...(retryOf !== '' && { retry_of: retryOf }),
  }
  const payloads = `"input":${inputText(inputs)},"output":${outputText(record)}`
  return `${JSON.stringify(head).slice(0, -1)},${payloads},${JSON.stringify(tail).slice(1)}`
}
