/** `Cancel-After`: how long a prediction may take before it is canceled, as Replicate defines the header. */
import { ServiceError } from '../contracts/errors.ts'

const leastMs = 5_000
const units = [3_600_000, 60_000, 1_000]

/** Milliseconds, undefined without the header. `90`, `90s`, `5m`, `1h30m45s`; throws `invalid_header`. */
export function cancelAfterMsOf(header: string | undefined): number | undefined {
  if (header === undefined) return undefined
  const text = header.trim()
  const [, ...amounts] = /^(?=\d)(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?$/.exec(
    /^\d+$/.test(text) ? `${text}s` : text,
  ) ?? [undefined]
  const ms = amounts.reduce((sum, amount, n) => sum + Number(amount ?? 0) * (units[n] ?? 0), 0)
  if (amounts.length === 0) {
    throw new ServiceError('invalid_header', 'Cancel-After must be a duration such as 30s, 5m or 1h30m')
  }
  if (ms < leastMs) throw new ServiceError('invalid_header', 'Cancel-After must be at least 5 seconds')
  return ms
}
