/**
 * Our side of an external record service (prediction-agent specification, 4.1 and 4.2): one try of one call. Owns its wire;
 * refuses order and repetition, which are the outbox sender's.
 */
import { Agent, request } from 'undici'
import { parseJson, printJson } from '../contracts/json.ts'
import { retryAfter } from '../contracts/retry.ts'

export interface MirrorSettings {
  /** `host:port`. */
  address: string
  apiKey: { reveal(): string }
  /** Of one try. */
  tryTimeoutMs?: number
}

export type MirrorAnswer =
  | { outcome: 'taken' }
  /** Worth another try: it is away, busy, or does not know our key. */
  | { outcome: 'later'; reason: string; retryAfterMs?: number }
  /** The same call would be refused again. */
  | { outcome: 'refused'; reason: string }

export interface Mirror {
  /** Sends the body of one outbox row. Never throws. */
  send(body: string): Promise<MirrorAnswer>
  /** No `send` takes longer. */
  readonly withinMs: number
  close(): Promise<void>
}

interface MirrorCall {
  call: 'create' | 'update'
  uid?: string
  task: Record<string, unknown>
}

const errorTextBytes = 2_000

export function makeMirror({ address, apiKey, tryTimeoutMs = 10_000 }: MirrorSettings): Mirror {
  const agent = new Agent({ allowH2: false, keepAliveTimeout: 1_500, keepAliveMaxTimeout: 1_500 })

  async function exchange(method: 'POST' | 'PUT', body: string, more: Record<string, string> = {}) {
    const headers = { 'content-type': 'application/json', apikey: apiKey.reveal(), ...more }
    const signal = AbortSignal.timeout(tryTimeoutMs)
    const answer = await request(`http://${address}/task`, {
      method,
      body,
      headers,
      dispatcher: agent,
      signal,
    })
    const status = answer.statusCode
    if (status === 200) {
      await answer.body.dump({ limit: 64 * 1024 })
      return { status, text: '', after: undefined }
    }
    const text = (await answer.body.text()).slice(0, errorTextBytes)
    return { status, text, after: retryAfter(answer.headers['retry-after'], Date.now()) }
  }

  async function answered(
    method: 'POST' | 'PUT',
    body: string,
    more?: Record<string, string>,
  ): Promise<MirrorAnswer | 'not_found'> {
    try {
      const { status, text, after } = await exchange(method, body, more)
      if (status === 200) return { outcome: 'taken' }
      if (status === 404 || (status === 400 && text.includes('redis: nil'))) return 'not_found'
      const reason = `http ${method.toLowerCase()} request /task failed, status code: ${status}`
      // A key that is wrong today is put right by somebody; a body that is refused stays as it is.
      if (status >= 500 || [401, 403, 408, 429].includes(status)) {
        return { outcome: 'later', reason, ...(after !== undefined && { retryAfterMs: after }) }
      }
      return { outcome: 'refused', reason }
    } catch {
      return { outcome: 'later', reason: `http ${method.toLowerCase()} request /task failed` }
    }
  }

  return {
    // An update may be two calls.
    withinMs: 2 * tryTimeoutMs,
    async send(body) {
      const { call, uid = '', task } = parseJson(body) as MirrorCall
      if (call === 'create') {
        const created = await answered('POST', printJson(task), { uid })
        return created === 'not_found'
          ? { outcome: 'refused', reason: 'the record service has no /task' }
          : created
      }
      const updated = await answered('PUT', printJson({ ...task, database_only: false }))
      if (updated !== 'not_found') return updated
      // Expired over there: the long-lived row, if it keeps one, is still to be brought up to date.
      const kept = await answered('PUT', printJson({ ...task, database_only: true }))
      return kept === 'not_found' ? { outcome: 'taken' } : kept
    },
    close: () => agent.close(),
  }
}
