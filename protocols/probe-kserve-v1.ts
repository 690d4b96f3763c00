/** Probes servers of KServe's version 1 protocol. */
import { kserveV1Paths } from './kserve-v1.ts'
import { bad, type Probe } from './probe.ts'
import { errorTextOf, jsonHeaders, memberOf, poll } from './probe-http.ts'

export const kserveV1Probe: Probe = {
  async ready({ endpoints, modelName }, signal) {
    const path = kserveV1Paths.modelReady(modelName)
    const seen = await poll(endpoints.http ?? '', { method: 'GET', path }, signal)
    if (seen.reply === undefined) return { status: 'NOT_READY', reason: seen.message }
    const ready = memberOf(seen.reply.json, 'ready')
    // Some releases print the flag as Python does, in a string.
    if (seen.reply.status === 200 && (ready === true || ready === 'True')) {
      return { status: 'READY', reason: 'ready' }
    }
    return { status: 'NOT_READY', reason: errorTextOf(seen.reply) }
  },

  call({ modelName }, request) {
    const { id: _ours, ...body } = request
    const path = kserveV1Paths.predict(modelName)
    return { method: 'POST', path, headers: jsonHeaders, body: JSON.stringify(body) }
  },

  judge(_target, reply) {
    if (reply.status !== 200) return bad(errorTextOf(reply))
    const data = memberOf(reply.json, 'predictions')
    return data === undefined
      ? bad('200 without predictions')
      : { good: true, outputs: { predictions: { data } } }
  },
}
