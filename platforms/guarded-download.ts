/** Reads files at a provider's own hosts (prediction-agent specification, 10.3). Owns which addresses; sends no key, follows no redirect. */
import type { Readable } from 'node:stream'
import { Agent, request } from 'undici'
import { ServiceError } from '../contracts/errors.ts'
import { type AddressRules, makeAddressGuard, type Resolve } from './guarded-address.ts'

export interface DownloadOptions {
  /** A file at one of these, or at a name below it, is read. */
  hosts: readonly string[]
  rules: AddressRules
  resolve?: Resolve
}

export interface Downloads {
  /** Whether the text is the address of a file that may be read. */
  covers(text: string): boolean
  /** The file's content. Throws `platform_*` codes, without the address. */
  open(url: string, signal: AbortSignal): Promise<Readable>
  close(): Promise<void>
}

const connectTimeoutMs = 10_000
/** Silence of this length is the end of a download. */
const silenceMs = 30_000

export function makeDownloads({ hosts, rules, resolve }: DownloadOptions): Downloads {
  const guard = makeAddressGuard(rules, resolve)
  const agent = new Agent({
    allowH2: false,
    connect: { lookup: guard.lookup, timeout: connectTimeoutMs },
    headersTimeout: silenceMs,
    bodyTimeout: silenceMs,
    keepAliveTimeout: 1_000,
    keepAliveMaxTimeout: 1_000,
  })
  return {
    covers(text) {
      if (!/^https?:\/\//i.test(text) || !URL.canParse(text)) return false
      const { hostname } = new URL(text)
      const isAtHost = hosts.some((host) => hostname === host || hostname.endsWith(`.${host}`))
      return isAtHost && guard.refusal(text) === undefined
    },
    async open(url, signal) {
      const answer = await request(url, { dispatcher: agent, signal }).catch((cause: unknown) => {
        if (signal.aborted) throw new ServiceError('prediction_canceled', 'prediction was canceled')
        throw new ServiceError('platform_unreachable', "the output's file cannot be reached", { cause })
      })
      if (answer.statusCode === 200) return answer.body
      await answer.body.dump({ limit: 64 * 1024, signal }).catch(() => undefined)
      throw answer.statusCode >= 500 || answer.statusCode === 429
        ? new ServiceError('platform_busy', `the output's file was answered with ${answer.statusCode}`)
        : new ServiceError('platform_rejected', `the output's file was answered with ${answer.statusCode}`)
    },
    close: () => agent.destroy(),
  }
}
