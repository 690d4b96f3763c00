/** Probes Cog servers. Health and failures both come inside HTTP 200: the body decides. */
import { bad, type Probe, type Readiness } from './probe.ts'
import { errorTextOf, jsonHeaders, memberOf, poll } from './probe-http.ts'

const statusOf: Record<string, Readiness['status']> = {
  READY: 'READY',
  BUSY: 'READY',
  STARTING: 'NOT_READY',
  UNHEALTHY: 'NOT_READY',
  SETUP_FAILED: 'UNAVAILABLE',
  DEFUNCT: 'UNAVAILABLE',
}
const shownLog = 2000

export const cogProbe: Probe = {
  async ready({ endpoints }, signal) {
    const seen = await poll(endpoints.http ?? '', { method: 'GET', path: '/health-check' }, signal)
    if (seen.reply === undefined) return { status: 'NOT_READY', reason: seen.message }
    const said = memberOf(seen.reply.json, 'status')
    const status = (typeof said === 'string' && statusOf[said]) || 'NOT_READY'
    const setupLogs = memberOf(memberOf(seen.reply.json, 'setup'), 'logs')
    const logs = typeof setupLogs === 'string' ? setupLogs.trim().slice(-shownLog) : ''
    return { status, reason: logs === '' || status !== 'UNAVAILABLE' ? String(said) : `${said}: ${logs}` }
  },

  call(_target, request) {
    const { id: _ours, ...body } = request
    return { method: 'POST', path: '/predictions', headers: jsonHeaders, body: JSON.stringify(body) }
  },

  judge(_target, reply) {
    // One slot, freed a little late: says nothing about the model.
    if (reply.status === 409) return { good: false, kind: 'busy', message: errorTextOf(reply) }
    if (reply.status !== 200) return bad(errorTextOf(reply))
    const status = memberOf(reply.json, 'status')
    if (status !== 'succeeded') return bad(`status ${String(status)}: ${errorTextOf(reply)}`)
    return { good: true, outputs: { output: { data: memberOf(reply.json, 'output') ?? null } } }
  },
}
