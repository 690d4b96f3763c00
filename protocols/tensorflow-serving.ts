/** Probes TensorFlow Serving: status by REST or gRPC, requests by REST. */
import type { ProbeRequest, TensorflowRequest } from '../contracts/validation-requests.ts'
import { bad, type Output, type Probe, type Readiness } from './probe.ts'
import { errorTextOf, jsonHeaders, memberOf, poll } from './probe-http.ts'
import { statusByGrpc, type VersionStatus } from './tensorflow-status.ts'

export const tensorflowProbe: Probe = {
  async ready({ endpoints, modelName, binary }, signal) {
    if (binary.statusVia === 'grpc') {
      const answer = await statusByGrpc(endpoints.grpc ?? '', modelName, binary.modelVersion, signal)
      return typeof answer === 'string' ? { status: 'NOT_READY', reason: answer } : judgeVersions(answer)
    }
    const path = modelPath(modelName, binary.modelVersion)
    const seen = await poll(endpoints.http ?? '', { method: 'GET', path }, signal)
    if (seen.reply === undefined) return { status: 'NOT_READY', reason: seen.message }
    const listed = memberOf(seen.reply.json, 'model_version_status')
    if (seen.reply.status !== 200 || !Array.isArray(listed)) {
      return { status: 'NOT_READY', reason: errorTextOf(seen.reply) }
    }
    return judgeVersions(listed.map(readVersion))
  },

  call({ modelName, binary }, request) {
    if (!isTensorflow(request)) throw new TypeError('not a TensorFlow Serving request')
    const { id: _ours, method, ...body } = request
    const path = `${modelPath(modelName, binary.modelVersion)}:${method}`
    return { method: 'POST', path, headers: jsonHeaders, body: JSON.stringify(body) }
  },

  judge(_target, reply, request) {
    if (reply.status !== 200) return bad(errorTextOf(reply))
    const names =
      isTensorflow(request) && request.method === 'predict'
        ? ['predictions', 'outputs']
        : ['results', 'result']
    const name = names.find((one) => memberOf(reply.json, one) !== undefined)
    if (name === undefined) return bad(`200 without ${names.join(' or ')}`)
    return { good: true, outputs: outputsOf(name, memberOf(reply.json, name)) }
  },
}

/**
 * READY: at least one version and all of them available. UNAVAILABLE: one of them has ended, with its error message.
 * Source: https://www.tensorflow.org/tfx/serving/api_rest
 */
export function judgeVersions(versions: readonly VersionStatus[]): Readiness {
  if (versions.length === 0) return { status: 'NOT_READY', reason: 'no version is known yet' }
  const text = versions.map(({ version, state }) => `${version} ${state}`).join(', ')
  if (versions.every(({ state }) => state === 'AVAILABLE')) return { status: 'READY', reason: text }
  const ended = versions.find(({ state }) => state === 'END')
  return ended === undefined
    ? { status: 'NOT_READY', reason: text }
    : { status: 'UNAVAILABLE', reason: ended.errorMessage || text }
}

function readVersion(value: unknown): VersionStatus {
  const errorMessage = memberOf(memberOf(value, 'status'), 'error_message')
  return {
    version: String(memberOf(value, 'version') ?? '?'),
    state: String(memberOf(value, 'state') ?? 'UNKNOWN'),
    errorMessage: typeof errorMessage === 'string' ? errorMessage : '',
  }
}

/** Columnar answers name their outputs; row answers are one output. */
function outputsOf(name: string, value: unknown): Record<string, Output> {
  if (name === 'outputs' && typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return Object.fromEntries(Object.entries(value).map(([one, data]) => [one, { data }]))
  }
  return { [name === 'result' ? 'results' : name]: { data: value } }
}

function modelPath(model: string, version: string | undefined): string {
  const path = `/v1/models/${encodeURIComponent(model)}`
  return version === undefined ? path : `${path}/versions/${encodeURIComponent(version)}`
}

function isTensorflow(request: ProbeRequest): request is TensorflowRequest {
  return 'method' in request && ['predict', 'classify', 'regress'].includes(String(request.method))
}
