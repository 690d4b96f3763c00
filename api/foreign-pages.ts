/** Keeps pages of other sites from starting what may run commands. A browser says whose page asks; programs say nothing. */
import { ServiceError } from '../contracts/errors.ts'
import type { ApiContext } from './surface.ts'

const loopback = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/

/**
 * `localOnly`: only this machine is to reach the API, so a name that merely resolves to it is another site's (DNS
 * rebinding). Throws `invalid_header`.
 */
export function refuseForeignPages(c: ApiContext, localOnly: boolean): void {
  const origin = c.req.header('origin')
  if (origin === undefined) return
  const from = URL.canParse(origin) ? new URL(origin) : undefined
  const same = from !== undefined && from.host === c.req.header('host')
  if (same && (!localOnly || loopback.test(from.hostname))) return
  throw new ServiceError('invalid_header', 'Origin: pages of other sites may not start validations')
}
