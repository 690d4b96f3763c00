/** Probes Open Inference V2 servers: MLServer, KServe, Triton. Judges readiness by status; bodies may be empty. */
import { openInferencePaths } from './open-inference.ts'
import { bad, type Output, type Probe } from './probe.ts'
import { errorTextOf, jsonHeaders, memberOf, poll } from './probe-http.ts'
import { flatten } from './tensor.ts'

export const openInferenceProbe: Probe = {
  async ready({ endpoints, modelName, binary }, signal) {
    const address = endpoints.http ?? ''
    const path = openInferencePaths.modelReady(modelName, binary.modelVersion)
    const seen = await poll(address, { method: 'GET', path }, signal)
    if (seen.reply === undefined) return { status: 'NOT_READY', reason: seen.message }
    if (seen.reply.status === 200) return { status: 'READY', reason: 'ready' }
    const failed = await failedInIndex(address, modelName, binary.modelVersion, signal)
    if (failed !== undefined) return { status: 'UNAVAILABLE', reason: failed }
    return { status: 'NOT_READY', reason: errorTextOf(seen.reply) }
  },

  call({ modelName, binary }, request, id) {
    const path = openInferencePaths.infer(modelName, binary.modelVersion)
    return { method: 'POST', path, headers: jsonHeaders, body: JSON.stringify({ ...request, id }) }
  },

  judge(_target, reply, _request, id) {
    if (reply.status !== 200) return bad(errorTextOf(reply))
    const outputs = memberOf(reply.json, 'outputs')
    if (!Array.isArray(outputs) || outputs.length === 0) return bad('200 without outputs')
    const echoed = memberOf(reply.json, 'id')
    if (echoed !== id) return bad(`the id ${id} came back as ${String(echoed)}`)
    const named: Record<string, Output> = {}
    for (const output of outputs) {
      const tensor = readTensor(output)
      if (typeof tensor === 'string') return bad(tensor)
      named[tensor.name] = tensor.output
    }
    return { good: true, outputs: named }
  },
}

/** The reason with which the repository index calls the model UNAVAILABLE; KServe has no index and answers 404. */
async function failedInIndex(
  address: string,
  model: string,
  version: string | undefined,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const call = { method: 'POST', path: '/v2/repository/index', headers: jsonHeaders, body: '{}' } as const
  const seen = await poll(address, call, signal)
  const index = seen.reply?.status === 200 ? seen.reply.json : undefined
  if (!Array.isArray(index)) return undefined
  const ours = index.filter(
    (entry) =>
      memberOf(entry, 'name') === model &&
      (version === undefined || memberOf(entry, 'version') === version) &&
      memberOf(entry, 'state') === 'UNAVAILABLE',
  )
  // An unloaded model is UNAVAILABLE too, without a reason: that one may still come.
  return ours
    .map((entry) => memberOf(entry, 'reason'))
    .find((reason): reason is string => typeof reason === 'string' && reason !== '')
}

function readTensor(value: unknown): { name: string; output: Output } | string {
  const name = memberOf(value, 'name')
  const shape = memberOf(value, 'shape')
  const datatype = memberOf(value, 'datatype')
  const data = memberOf(value, 'data')
  if (typeof name !== 'string') return 'an output has no name'
  if (!isShape(shape) || typeof datatype !== 'string') return `output ${name} lacks shape or datatype`
  const elements = flatten(data).length
  const expected = shape.reduce((product, size) => product * size, 1)
  if (elements !== expected) {
    return `output ${name} has ${elements} elements, but its shape [${shape.join(',')}] needs ${expected}`
  }
  return { name, output: { data, shape, datatype } }
}

function isShape(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isInteger(size) && size >= 0)
}
