/** Reads keys out of an environment and gathers what is wrong with them, so that all faults are told at once. */
import { type Keys, keys, type Value } from './keys.ts'
import { ConfigError, type Env } from './values.ts'

/** Keys of the predecessor that mean nothing here. */
const goneKeys = ['REDIS_ADDRESS', 'REDIS_CLUSTER_MODE', 'USE_LOCAL_REDIS'] as const

export interface Reader {
  <K extends keyof Keys>(key: K, standard?: string): Value<K>
  /** Set to anything but the empty text. */
  given(key: string): boolean
  fault(line: string): void
  warn(line: string): void
  /** Throws every fault at once. */
  done<T>(make: () => T): Readonly<T & { warnings: readonly string[] }>
}

/** Freezes plain objects and lists all the way down; buffers and secrets keep themselves. */
function frozen<T extends object>(value: T): Readonly<T> {
  for (const part of Object.values(value)) {
    if (typeof part === 'object' && part !== null && !(part instanceof Uint8Array)) frozen(part)
  }
  return Object.freeze(value)
}

export function reader(env: Env): Reader {
  const faults: string[] = []
  const warnings: string[] = []
  const read = (key: keyof Keys, standard?: string): unknown => {
    const { parse, standard: fallback } = keys[key]
    const given = env[key]?.trim()
    try {
      return parse(given || (standard ?? fallback))
    } catch (error) {
      faults.push(`${key}: ${error instanceof Error ? error.message : String(error)}`)
      return parse(standard ?? fallback)
    }
  }
  const gone = goneKeys.filter((key) => env[key]?.trim())
  if (gone.length > 0)
    warnings.push(`${gone.join(', ')}: no longer used, predictions always survive a restart`)
  const extra = {
    given: (key: string) => Boolean(env[key]?.trim()),
    fault: (line: string) => void faults.push(line),
    warn: (line: string) => void warnings.push(line),
    done<T>(make: () => T) {
      if (faults.length > 0) throw new ConfigError([...new Set(faults)])
      return frozen({ ...make(), warnings: [...new Set(warnings)] })
    },
  }
  return Object.assign(read as Reader, extra)
}
