/** How the text of a key is read: one maker for each kind of value, each throwing an `Error` that says what is wrong. */
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { durationMs } from '../contracts/durations.ts'
import { type Address, Secret } from './values.ts'

/** One key: how its text is read, its default as a user would write it, and what it does. */
export interface Key<T> {
  readonly standard: string
  readonly what: string
  /** Throws an `Error` whose message continues "KEY: …". */
  readonly parse: (text: string) => T
}

export const text = (standard: string, what: string): Key<string> => ({
  standard,
  what,
  parse: (given) => given,
})

export const secret = (standard: string, what: string): Key<Secret> => ({
  standard,
  what,
  parse: (given) => new Secret(given),
})

export function integer(standard: string, least: number, most: number, what: string): Key<number> {
  return {
    standard,
    what,
    parse(given) {
      if (!/^[+-]?\d+$/.test(given)) throw new Error(`"${given}" is not a whole number`)
      const value = Number(given)
      if (value < least || value > most) throw new Error(`${value} is not between ${least} and ${most}`)
      return value
    },
  }
}

export const port = (standard: string, what: string) => integer(standard, 0, 65_535, what)

export function duration(standard: string, leastMs: number, what: string): Key<number> {
  return {
    standard,
    what,
    parse(given) {
      const ms = durationMs(given)
      if (ms === undefined) throw new Error(`"${given}" is not a duration such as 320, 320s, 5m or 48h`)
      if (ms < leastMs) throw new Error(`"${given}" is shorter than ${leastMs} ms`)
      return ms
    },
  }
}

const sizeUnits = {
  '': 1,
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
} as const

/** `10485760`, `10MiB`, `5GiB`, `20MB`; bytes. */
function parseSize(given: string): number {
  const [, amount, unit] = /^(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|KiB|MiB|GiB|)$/.exec(given) ?? []
  if (amount === undefined || unit === undefined) {
    throw new Error(`"${given}" is not a size such as 1048576, 10MiB or 5GiB`)
  }
  return Math.floor(Number(amount) * sizeUnits[unit as keyof typeof sizeUnits])
}

export const size = (standard: string, what: string): Key<number> => ({ standard, what, parse: parseSize })

export function flag(standard: string, what: string): Key<boolean> {
  return {
    standard,
    what,
    parse(given) {
      if (/^(true|1|yes|on)$/i.test(given)) return true
      if (/^(false|0|no|off)$/i.test(given)) return false
      throw new Error(`"${given}" is neither true nor false`)
    },
  }
}

export function oneOf<const W extends string>(standard: W, words: readonly W[], what: string): Key<W> {
  return {
    standard,
    what,
    parse(given) {
      const word = words.find((candidate) => candidate === given)
      if (word === undefined) throw new Error(`"${given}" is not one of ${words.join(', ')}`)
      return word
    },
  }
}

function parseAddress(given: string): Address {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^\s:/]*)):(\d{1,5})$/.exec(given) ?? []
  const number = Number(digits)
  if (digits === undefined || number > 65_535)
    throw new Error(`"${given}" is not an address such as 127.0.0.1:8000`)
  return { host: bracketed ?? (plain === undefined || plain === '' ? '0.0.0.0' : plain), port: number }
}

export const address = (standard: string, what: string): Key<Address> => ({
  standard,
  what,
  parse: parseAddress,
})

/** An address to listen on that may be left out. */
export const optionalAddress = (what: string): Key<Address | undefined> => ({
  standard: '',
  what,
  parse: (given) => (given === '' ? undefined : parseAddress(given)),
})

/** An address of another service: kept as text once it is known to be one. */
export function peer(standard: string, what: string): Key<string> {
  return {
    standard,
    what,
    parse(given) {
      if (given === '') return given
      parseAddress(given)
      return given
    },
  }
}

export function url(standard: string, protocols: readonly string[], what: string): Key<string> {
  return {
    standard,
    what,
    parse(given) {
      if (given === '') return given
      if (!URL.canParse(given) || !protocols.includes(new URL(given).protocol)) {
        throw new Error(
          `not an address that starts with ${protocols.map((word) => `${word}//`).join(' or ')}`,
        )
      }
      return given.replace(/\/+$/, '')
    },
  }
}

export function list<T>(standard: string, what: string, item: (text: string) => T): Key<readonly T[]> {
  return {
    standard,
    what,
    parse: (given) =>
      given
        .split(/[\s,]+/)
        .filter(Boolean)
        .map(item),
  }
}

/** A range of addresses as CIDR writes it, `10.1.0.0/16`: kept as text once it is known to be one. */
export function addressRange(given: string): string {
  const [, from = '', bits] = /^([\da-fA-F.:]+)\/(\d{1,3})$/.exec(given) ?? []
  const family = isIP(from)
  if (family === 0 || Number(bits) > (family === 4 ? 32 : 128)) {
    throw new Error(`"${given}" is not an address range such as 10.1.0.0/16`)
  }
  return given
}

/** `name=value` pairs with commas between them, values percent-encoded, as OpenTelemetry writes them. */
export function pairs<T>(
  what: string,
  value: (text: string) => T,
): Key<readonly { name: string; value: T }[]> {
  return {
    standard: '',
    what,
    parse: (given) =>
      given.split(',').flatMap((pair) => {
        if (pair.trim() === '') return []
        const at = pair.indexOf('=')
        const name = pair.slice(0, at).trim()
        if (at < 1 || name === '') throw new Error('is no list of name=value pairs with commas between them')
        return [{ name, value: value(decoded(pair.slice(at + 1).trim())) }]
      }),
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** An optional file, read at start so that a wrong path is a fault at once. */
export function file(what: string): Key<Buffer | undefined> {
  return {
    standard: '',
    what,
    parse(given) {
      if (given === '') return undefined
      try {
        return readFileSync(given)
      } catch {
        throw new Error(`cannot read the file "${given}"`)
      }
    },
  }
}
