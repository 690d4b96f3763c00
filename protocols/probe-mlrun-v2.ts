/** Probes mlrun's V2 servers, and ours. Same URLs as open inference, other bodies: 408 is "not yet", errors are 400 as text. */
import { mlrunNotReady, mlrunPaths } from './mlrun-v2.ts'
import { bad, type Probe } from './probe.ts'
import { errorTextOf, jsonHeaders, memberOf, poll } from './probe-http.ts'

export const mlrunV2Probe: Probe = {
  async ready({ endpoints, modelName, binary }, signal) {
    const path = mlrunPaths.modelReady(modelName, binary.modelVersion)
    const seen = await poll(endpoints.http ?? '', { method: 'GET', path }, signal)
    if (seen.reply === undefined) return { status: 'NOT_READY', reason: seen.message }
    const { status, text } = seen.reply
    if (status === 200) return { status: 'READY', reason: 'ready' }
    if (status === 400 && /does ?n.?t exist/.test(text)) {
      return { status: 'UNAVAILABLE', reason: errorTextOf(seen.reply) }
    }
    const loading = mlrunNotReady.includes(status)
    return { status: 'NOT_READY', reason: loading ? 'the model is loading' : errorTextOf(seen.reply) }
  },

  call({ modelName, binary }, request, id) {
    const path = mlrunPaths.infer(modelName, binary.modelVersion)
    return { method: 'POST', path, headers: jsonHeaders, body: JSON.stringify({ ...request, id }) }
  },

  judge(_target, reply) {
    if (reply.status !== 200) return bad(errorTextOf(reply))
    const data = memberOf(reply.json, 'outputs')
    return data === undefined ? bad('200 without outputs') : { good: true, outputs: { outputs: { data } } }
  },
}
