/**
 * Which addresses that users name may be called: webhooks, files (prediction-agent specification, 10.3). Checked when they
 * are given, and again inside the connection's own name lookup. Owns the rules; calls nothing.
 */
import { type LookupAddress, lookup as systemLookup } from 'node:dns'
import type { LookupFunction } from 'node:net'
import ipaddr from 'ipaddr.js'

export interface AddressRules {
  allowHttp: boolean
  /** Ranges allowed although they are not public, such as `10.1.0.0/16`. */
  allowCidrs: readonly string[]
  /** Beyond 80 and 443. */
  allowPorts: readonly number[]
}

/** Every address of a name. */
export type Resolve = (hostname: string) => Promise<LookupAddress[]>

export interface AddressGuard {
  /** Why the URL must not be called, in words for whoever gave it; undefined if nothing speaks against it. */
  refusal(url: string): string | undefined
  /** As `refusal`, and looks up the name. A name nobody knows yet passes. */
  refusalNow(url: string): Promise<string | undefined>
  /** For a connection: fails unless every address of the name may be called. */
  readonly lookup: LookupFunction
}

/** What `range()` of the library calls public, but is not, or is a way to others. */
const refusedRanges = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '224.0.0.0/4',
  '240.0.0.0/4',
  '::/96',
  '::ffff:0:0/96',
  '64:ff9b::/96',
  '64:ff9b:1::/48',
  '2002::/16',
  'fc00::/7',
  'fe80::/10',
  'fec0::/10',
  'ff00::/8',
].map((cidr) => ipaddr.parseCIDR(cidr))

/** Throws an `Error` that names a range it cannot read. */
export function makeAddressGuard(rules: AddressRules, resolve: Resolve = resolveAll): AddressGuard {
  const allowed = rules.allowCidrs.map((cidr) => {
    if (!ipaddr.isValidCIDR(cidr)) throw new Error(`WEBHOOK_ALLOW_CIDRS: "${cidr}" is not an address range`)
    return ipaddr.parseCIDR(cidr)
  })
  const ports = new Set([80, 443, ...rules.allowPorts])

  function isAllowed(text: string): boolean {
    if (!ipaddr.isValid(text)) return false
    const address = ipaddr.parse(text)
    const isIn = ([net, bits]: [ipaddr.IPv4 | ipaddr.IPv6, number]) =>
      net.kind() === address.kind() && address.match(net, bits)
    if (allowed.some(isIn)) return true
    return address.range() === 'unicast' && !refusedRanges.some(isIn)
  }

  function refusal(text: string): string | undefined {
    if (!URL.canParse(text)) return 'is not a URL'
    // The parser also turns odd spellings of IPv4 (octal, hex, one number) into the usual one.
    const { protocol, username, password, port, hostname } = new URL(text)
    if (protocol !== 'https:' && !(protocol === 'http:' && rules.allowHttp)) {
      return rules.allowHttp ? 'must start with https:// or http://' : 'must start with https://'
    }
    if (username !== '' || password !== '') return 'must not contain a user name or password'
    if (!ports.has(port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port))) {
      return 'must use port 80 or 443'
    }
    const literal = hostname.replace(/^\[|\]$/g, '')
    if (hostname === '' || (ipaddr.isValid(literal) && !isAllowed(literal))) return refusedText
    return undefined
  }

  async function addressesOf(hostname: string): Promise<LookupAddress[]> {
    const addresses = await resolve(hostname)
    if (addresses.length === 0) throw new Error('the name has no address')
    if (!addresses.every(({ address }) => isAllowed(address))) throw new AddressRefused()
    return addresses
  }

  return {
    refusal,
    async refusalNow(url) {
      const refused = refusal(url)
      if (refused !== undefined) return refused
      const { hostname } = new URL(url)
      if (ipaddr.isValid(hostname.replace(/^\[|\]$/g, ''))) return undefined
      try {
        await addressesOf(hostname)
      } catch (error) {
        if (error instanceof AddressRefused) return refusedText
      }
      return undefined
    },
    lookup(hostname, { all }, callback) {
      addressesOf(hostname).then(
        (addresses) => {
          if (all) callback(null, addresses)
          else callback(null, addresses[0]!.address, addresses[0]!.family)
        },
        (error: NodeJS.ErrnoException) => callback(error, []),
      )
    },
  }
}

const refusedText = 'must be a public address'

/** A name led to an address that must not be called. */
export class AddressRefused extends Error {
  constructor() {
    super('the name leads to an address that is not public')
    this.name = 'AddressRefused'
  }
}

function resolveAll(hostname: string): Promise<LookupAddress[]> {
  return new Promise((resolve, reject) => {
    systemLookup(hostname, { all: true }, (error, addresses) => (error ? reject(error) : resolve(addresses)))
  })
}
