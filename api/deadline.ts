/** `Cancel-After`: how long a prediction may take before it is canceled, as Replicate defines the header. */
import { spanMs } from '../contracts/durations.ts'
import { ServiceError } from '../contracts/errors.ts'

const leastMs = 5_000

/** Milliseconds, undefined without the header. Throws `invalid_header`. */
export function cancelAfterMsOf(header: string | undefined): number | undefined {
  if (header === undefined) return undefined
  const ms = spanMs(header)
  if (ms === undefined) {
    throw new ServiceError('invalid_header', 'Cancel-After must be a duration such as 30s, 5m or 1h30m')
  }
  if (ms < leastMs) throw new ServiceError('invalid_header', 'Cancel-After must be at least 5 seconds')
  return ms
}
