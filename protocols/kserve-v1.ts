/**
 * KServe's version 1 protocol: paths and shapes of one inference. Sends nothing.
 * Source: https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol
 */
import { isJsonObject, parseJson, printJson } from '../contracts/json.ts'
import { objectOrNull } from './answer.ts'

export const kserveV1Paths = {
  modelReady: (model: string) => `/v1/models/${encodeURIComponent(model)}`,
  predict: (model: string) => `/v1/models/${encodeURIComponent(model)}:predict`,
  generate: (model: string) => `/v1/models/${encodeURIComponent(model)}:generate`,
  docs: (model: string) => `/v1/docs/${encodeURIComponent(model)}`,
} as const

export interface V1Answer {
  /** JSON text: the answer without `running_time`. */
  outputs: string
  /** Empty if the model names none. */
  runningTime: string
}

/** Reads a 200 answer: a JSON object or `null`. */
export function readPredictAnswer(text: string): V1Answer {
  const answer = objectOrNull(text)
  if (answer === null) return { outputs: 'null', runningTime: '' }
  if (!Object.hasOwn(answer, 'running_time')) return { outputs: text, runningTime: '' }
  const exact = parseJson(text)
  if (!isJsonObject(exact)) return { outputs: text, runningTime: '' }
  const { running_time, ...outputs } = exact
  return { outputs: printJson(outputs), runningTime: timeText(running_time) }
}

function timeText(value: unknown): string {
  if (value === null) return ''
  return typeof value === 'string' ? value : printJson(value)
}
