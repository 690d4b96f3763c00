/** Turns lists of values into the array of a datatype, checking each element. Owns ranges; refuses shapes and wire forms. */

import { arrayOf, type BigInteger, type Float, isTyped, type SmallInteger } from './datatypes.ts'
import { integerOfText } from './numbers.ts'
import type { Datatype, TensorData } from './tensor.ts'

/** Makes the error for a reason; it adds where the tensor stands, and its class decides 400 or 500. */
export type Fail = (reason: string) => Error

export interface ElementRules {
  fail: Fail
  /** Whether NaN and infinities are elements: yes for what a model returns, no for JSON. */
  nonFinite: boolean
  /** The same flat list with exact integers, asked for once, if a number is beyond 2^53. */
  exact?: () => ArrayLike<unknown>
}

/** Fills the array of `datatype` from a flat list. An array that is right already is returned as it is. */
export function elementsOf(datatype: Datatype, values: ArrayLike<unknown>, rules: ElementRules): TensorData {
  if (isTyped(datatype, values)) return values
  switch (datatype) {
    case 'BOOL':
      return booleans(values, rules)
    case 'BYTES':
      return byteStrings(values, rules)
    case 'UINT64':
    case 'INT64':
      return bigIntegers(datatype, values, rules)
    case 'FP16':
    case 'FP32':
    case 'FP64':
    case 'BF16':
      return floats(datatype, values, rules)
    default:
      return smallIntegers(datatype, values, rules)
  }
}

function misfit(datatype: Datatype, index: number, rules: ElementRules): Error {
  return rules.fail(`data[${index}] does not fit ${datatype}`)
}

function booleans(values: ArrayLike<unknown>, rules: ElementRules): boolean[] {
  const out: boolean[] = new Array(values.length)
  for (let i = 0; i < values.length; i++) {
    const value = values[i]
    if (typeof value !== 'boolean') throw misfit('BOOL', i, rules)
    out[i] = value
  }
  return out
}

// One list holds strings or bytes, not both, so that hooks can tell by its first element.
function byteStrings(values: ArrayLike<unknown>, rules: ElementRules): string[] | Uint8Array[] {
  if (values[0] instanceof Uint8Array) {
    return Array.from(values, (value, i) => {
      if (value instanceof Uint8Array) return value
      throw misfit('BYTES', i, rules)
    })
  }
  return Array.from(values, (value, i) => {
    // A lone surrogate has no UTF-8 bytes: it could not be sent on as it is.
    if (typeof value === 'string' && value.isWellFormed()) return value
    throw misfit('BYTES', i, rules)
  })
}

function smallIntegers(datatype: SmallInteger, values: ArrayLike<unknown>, rules: ElementRules): TensorData {
  const out = new arrayOf[datatype](values.length)
  for (let i = 0; i < values.length; i++) {
    const value = numberOf(values[i])
    if (value === undefined) throw misfit(datatype, i, rules)
    // Storing wraps what is out of range and cuts fractions: then it no longer equals.
    out[i] = value
    if (out[i] !== value) throw misfit(datatype, i, rules)
  }
  return out
}

function floats(datatype: Float, values: ArrayLike<unknown>, rules: ElementRules): TensorData {
  const out = new arrayOf[datatype](values.length)
  for (let i = 0; i < values.length; i++) {
    const value = numberOf(values[i])
    if (value === undefined) throw misfit(datatype, i, rules)
    out[i] = value
    if (!Number.isFinite(out[i]) && (Number.isFinite(value) || !rules.nonFinite)) {
      throw misfit(datatype, i, rules)
    }
  }
  return out
}

function bigIntegers(datatype: BigInteger, values: ArrayLike<unknown>, rules: ElementRules): TensorData {
  const out = datatype === 'INT64' ? new BigInt64Array(values.length) : new BigUint64Array(values.length)
  for (let i = 0; i < values.length; i++) {
    const value = values[i]
    let integer: bigint | undefined
    if (typeof value === 'number') {
      if (Number.isSafeInteger(value)) integer = BigInt(value)
      else if (Number.isInteger(value) && Math.abs(value) < 2 ** 65) {
        if (rules.exact) return bigIntegers(datatype, rules.exact(), withoutExact(rules))
        // Its own digits, not the double's: 9007199254740993000 must not become …992512.
        integer = BigInt(String(value))
      }
    } else if (typeof value === 'bigint') integer = value
    else integer = integerOfText(rawText(value) ?? '')
    if (integer === undefined) throw misfit(datatype, i, rules)
    out[i] = integer
    if (out[i] !== integer) throw misfit(datatype, i, rules)
  }
  return out
}

function withoutExact({ fail, nonFinite }: ElementRules): ElementRules {
  return { fail, nonFinite }
}

function numberOf(value: unknown): number | undefined {
  if (typeof value === 'number') return value
  if (typeof value === 'bigint') return Number(value)
  const text = rawText(value)
  return text === undefined ? undefined : Number(text)
}

/** The digits of a number that `parseJson` kept as text; undefined for anything else. */
export function rawText(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null || !JSON.isRawJSON(value)) return undefined
  const text = 'rawJSON' in value ? value.rawJSON : undefined
  // A raw JSON may also hold a string, true or null.
  return typeof text === 'string' && /^[-\d]/.test(text) ? text : undefined
}
