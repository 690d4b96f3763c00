/**
 * The open inference protocol, version 2 (KServe, MLServer, Triton): paths and shapes of one inference. Sends nothing.
 * Source: https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
 */
import { objectOrNull, requireSameId, unexpectedAnswer } from './answer.ts'

export { withRequestId } from './request-id.ts'

export const openInferencePaths = {
  serverLive: '/v2/health/live',
  serverReady: '/v2/health/ready',
  /** Metadata of a model. */
  model: (model: string, version = '') => modelPath(model, version),
  modelReady: (model: string, version = '') => `${modelPath(model, version)}/ready`,
  infer: (model: string, version = '') => `${modelPath(model, version)}/infer`,
} as const

/** The generate extension of Triton and of our model server; its stream is server-sent events. */
export function generateStreamPath(model: string, version = ''): string {
  return `${modelPath(model, version)}/generate_stream`
}

function modelPath(model: string, version: string): string {
  const path = `/v2/models/${encodeURIComponent(model)}`
  return version === '' ? path : `${path}/versions/${encodeURIComponent(version)}`
}

/** Checks a 200 answer and hands its text back; 64-bit integers keep their digits because nothing is printed anew. */
export function readInferAnswer(text: string, sentId: string): string {
  const answer = objectOrNull(text)
  if (answer === null) return 'null'
  if (!Array.isArray(answer.outputs)) throw unexpectedAnswer("the platform's answer has no outputs")
  requireSameId(answer, sentId)
  return text
}
