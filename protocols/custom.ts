/** Probes servers that follow no known protocol, by the rules their spec gives. Owns JSON paths; guesses nothing. */
import { connect } from 'node:net'
import { isDeepStrictEqual } from 'node:util'
import type { CustomRequest, ProbeRequest } from '../contracts/validation-requests.ts'
import type { CustomInference, CustomReadiness } from '../contracts/validation-serving.ts'
import { bad, type Probe, type Readiness } from './probe.ts'
import { errorTextOf, jsonHeaders, poll, pollTimeoutMs } from './probe-http.ts'

const inferenceDefaults: CustomInference = { method: 'POST', path: '/', headers: {}, expectStatus: 200 }

export const customProbe: Probe = {
  async ready(target, signal) {
    const rules = target.binary.readiness
    if (rules === undefined) return { status: 'UNAVAILABLE', reason: 'no readiness rule is given' }
    const logs = rules.failurePattern || rules.log ? ((await target.logs?.()) ?? '') : ''
    if (rules.failurePattern !== undefined) {
      const line = matchingLine(logs, rules.failurePattern)
      if (line !== undefined) return { status: 'UNAVAILABLE', reason: line }
    }
    if (rules.log !== undefined) {
      const line = matchingLine(logs, rules.log.pattern)
      return line === undefined
        ? { status: 'NOT_READY', reason: 'the log line has not come yet' }
        : { status: 'READY', reason: line }
    }
    const address = target.endpoints.http ?? ''
    return rules.tcp ? await byTcp(address, signal) : await byHttp(address, rules, signal)
  },

  call(target, request, id) {
    const given = isCustom(request) ? request : {}
    const { method, path, headers } = { ...inferenceDefaults, ...target.binary.inference }
    return {
      method: given.method ?? method,
      path: given.path ?? path,
      headers: {
        ...jsonHeaders,
        'x-request-id': id,
        ...lowerCase(headers),
        ...lowerCase(given.headers ?? {}),
      },
      ...(given.body !== undefined && { body: JSON.stringify(given.body) }),
    }
  },

  judge(target, reply, request) {
    const { expectStatus, outputs } = { ...inferenceDefaults, ...target.binary.inference }
    const expect = isCustom(request) ? request.expect : undefined
    if (reply.status !== (expect?.status ?? expectStatus)) return bad(errorTextOf(reply))
    if (expect?.jsonPath !== undefined && !holds(reply.json, { ...expect, jsonPath: expect.jsonPath })) {
      return bad(`the answer breaks the rule on ${expect.jsonPath}: ${reply.text.slice(0, 500)}`)
    }
    const body = reply.json === undefined ? reply.text : reply.json
    const data = outputs === undefined ? body : at(body, outputs)
    if (data === undefined) return bad(`the answer has nothing at ${outputs}`)
    return { good: true, outputs: { body: { data } } }
  },
}

/** The value at `a.b[0].c`; undefined when there is none. */
export function at(value: unknown, path: string): unknown {
  const parts = path.replace(/^\$\.?/, '').match(/[^.[\]]+/g) ?? []
  return parts.reduce<unknown>(
    (inside, part) =>
      typeof inside === 'object' && inside !== null && Object.hasOwn(inside, part)
        ? (inside as Record<string, unknown>)[part]
        : undefined,
    value,
  )
}

function holds(body: unknown, rule: { jsonPath: string; equals?: unknown }): boolean {
  const found = at(body, rule.jsonPath)
  return rule.equals === undefined ? found !== undefined : isDeepStrictEqual(found, rule.equals)
}

async function byHttp(
  address: string,
  rules: CustomReadiness,
  signal: AbortSignal | undefined,
): Promise<Readiness> {
  const { path, expectStatus, jsonPath, equals } = { path: '/', expectStatus: 200, ...rules.http }
  const seen = await poll(address, { method: 'GET', path }, signal)
  if (seen.reply === undefined) return { status: 'NOT_READY', reason: seen.message }
  const { reply } = seen
  if (rules.failWhen !== undefined && holds(reply.json, rules.failWhen)) {
    return { status: 'UNAVAILABLE', reason: reply.text.slice(0, 500) }
  }
  if (reply.status !== expectStatus) return { status: 'NOT_READY', reason: errorTextOf(reply) }
  if (jsonPath !== undefined && !holds(reply.json, { jsonPath, equals })) {
    return { status: 'NOT_READY', reason: `${jsonPath} is not as expected: ${reply.text.slice(0, 200)}` }
  }
  return { status: 'READY', reason: `${path} answered ${reply.status}` }
}

function byTcp(address: string, signal: AbortSignal | undefined): Promise<Readiness> {
  const split = address.lastIndexOf(':')
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address.slice(0, split), port: Number(address.slice(split + 1)) })
    const abort = () => {
      socket.destroy()
      reject(signal?.reason)
    }
    const end = (status: Readiness['status'], reason: string) => {
      socket.destroy()
      signal?.removeEventListener('abort', abort)
      resolve({ status, reason })
    }
    signal?.addEventListener('abort', abort, { once: true })
    socket.setTimeout(pollTimeoutMs, () => end('NOT_READY', 'no connection in time'))
    socket.once('connect', () => end('READY', 'the port accepts'))
    socket.once('error', (error) => end('NOT_READY', error.message))
  })
}

function matchingLine(logs: string, pattern: string): string | undefined {
  const rule = new RegExp(pattern)
  return logs.split('\n').find((line) => rule.test(line))
}

function isCustom(request: ProbeRequest): request is CustomRequest {
  return !('inputs' in request || 'instances' in request || 'input' in request || 'examples' in request)
}

function lowerCase(headers: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
}
