/** Keeps pages of other sites away from what only this machine may use. A browser says whose page asks; programs say nothing. */
import type { IncomingMessage } from 'node:http'
import { ServiceError } from '../contracts/errors.ts'

/** As URLs spell it; 0.0.0.0 and [::] lead there too. */
const loopback = /^((.+\.)?localhost|127\.\d+\.\d+\.\d+|0\.0\.0\.0|\[::1?\])$/
/** Nobody can register a name below these. */
const privateName = /\.(internal|local|test|lan|home\.arpa)$/

/**
 * `localOnly`: only this machine is to reach the API, so a name that merely resolves to it is another site's (DNS
 * rebinding). Throws `invalid_header`.
 */
export function refuseForeignPages(
  c: { req: { header(name: string): string | undefined } },
  localOnly: boolean,
): void {
  const origin = c.req.header('origin')
  if (origin === undefined) return
  const from = URL.canParse(origin) ? new URL(origin) : undefined
  const same = from !== undefined && from.host === c.req.header('host')
  if (same && (!localOnly || loopback.test(from.hostname))) return
  throw new ServiceError('invalid_header', 'Origin: pages of other sites may not start validations')
}

/** Where a listener was bound. */
interface Bound {
  address: string
  port: number
}

/**
 * Why a request is another site's page reaching for this machine, undefined if it is not: it writes to a loopback
 * address, or it calls a loopback listener by a public name that only resolves to it, with the listener's own port. A
 * proxy on this machine passes: it has a port of its own, and the Host it passes on is its Origin's.
 */
export function foreignPage(
  { method, headers }: Pick<IncomingMessage, 'method' | 'headers'>,
  bound: Bound,
): string | undefined {
  const { host = '', origin } = headers
  if (!URL.canParse(`http://${host}`)) return undefined
  const { hostname, port } = new URL(`http://${host}`)
  if (loopback.test(hostname)) {
    if (origin === undefined || method === 'GET' || method === 'HEAD') return undefined
    const ours = isLocalOrigin(origin) || headers['sec-fetch-site'] === 'same-origin'
    return ours ? undefined : 'Origin: pages of other sites may not use this address'
  }
  const ownPort = Number(port || 80) === bound.port
  return ownPort && isLoopbackAddress(bound.address) && isPublicName(hostname)
    ? 'Host: this is not a name of this service'
    : undefined
}

function isLocalOrigin(origin: string): boolean {
  return URL.canParse(origin) && loopback.test(new URL(origin).hostname)
}

function isLoopbackAddress(address: string): boolean {
  return address === '::1' || address.startsWith('127.')
}

/** A name with a dot that somebody may own; addresses are nobody's. */
function isPublicName(hostname: string): boolean {
  const name = hostname.replace(/\.$/, '')
  return name.includes('.') && !/^[\d.]+$/.test(name) && !privateName.test(name)
}
