/** Posts to addresses that users name. Owns limits of time and size; follows no redirect, shows no body, sends no key of ours. */
import { Agent, request } from 'undici'
import { retryAfter } from '../contracts/retry.ts'
import { type AddressRules, makeAddressGuard, type Resolve } from './guarded-address.ts'

export interface GuardedPost {
  url: string
  body: string
  headers: Readonly<Record<string, string>>
}

export type GuardedAnswer =
  | { status: number; retryAfterMs?: number }
  /** No answer. `refused`: the address must not be called. In words without the address. */
  | { status: null; refused: boolean; reason: string }

export interface GuardedClient {
  /** Never throws. */
  post(call: GuardedPost): Promise<GuardedAnswer>
  close(): Promise<void>
}

export interface GuardedOptions {
  /** Of one exchange, its body included. */
  timeoutMs?: number
  resolve?: Resolve
}

const discardedBytes = 64 * 1024
const connectTimeoutMs = 10_000

export function makeGuardedClient(
  rules: AddressRules,
  { timeoutMs = 20_000, resolve }: GuardedOptions = {},
): GuardedClient {
  const guard = makeAddressGuard(rules, resolve)
  const agent = new Agent({
    allowH2: false,
    connect: { lookup: guard.lookup, timeout: Math.min(connectTimeoutMs, timeoutMs) },
    keepAliveTimeout: 1_000,
    keepAliveMaxTimeout: 1_000,
  })
  return {
    async post({ url, body, headers }) {
      const refused = guard.refusal(url)
      if (refused !== undefined) return { status: null, refused: true, reason: `the address ${refused}` }
      try {
        const signal = AbortSignal.timeout(timeoutMs)
        const answer = await request(url, { method: 'POST', body, headers, dispatcher: agent, signal })
        const after = retryAfter(answer.headers['retry-after'], Date.now())
        await answer.body.dump({ limit: discardedBytes, signal }).catch(() => undefined)
        return { status: answer.statusCode, ...(after !== undefined && { retryAfterMs: after }) }
      } catch (error) {
        return { status: null, ...reasonOf(error) }
      }
    },
    close: () => agent.destroy(),
  }
}

function reasonOf(error: unknown): { refused: boolean; reason: string } {
  const name = error instanceof Error ? error.name : ''
  if (name === 'AddressRefused') {
    return { refused: true, reason: 'the name leads to an address that is not public' }
  }
  if (name === 'TimeoutError' || name === 'ConnectTimeoutError') {
    return { refused: false, reason: 'no answer in time' }
  }
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  return { refused: false, reason: code === '' ? 'the connection failed' : `the connection failed (${code})` }
}
