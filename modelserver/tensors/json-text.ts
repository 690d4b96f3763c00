/** Parses the JSON of infer requests: valid UTF-8, bounded depth, and 64-bit integers found again digit for digit. */

import { randomUUID } from 'node:crypto'
import { InvalidInput } from '../errors.ts'
import { integerOfText } from './numbers.ts'

const utf8 = new TextDecoder('utf-8', { fatal: true })
const maxDepth = 1_000
// Below this size no nesting costs memory worth a scan.
const scanFrom = 65_536

/** Parses bytes as JSON with plain numbers. Throws `InvalidInput` beginning with `Unrecognized request format`. */
export function parseBytes(bytes: Uint8Array): { text: string; value: unknown } {
  // JSON.parse keeps about 50 bytes per open bracket, and seconds of time for a body that is nothing else.
  if (bytes.length > scanFrom && isTooDeep(bytes)) throw unrecognized(`nested deeper than ${maxDepth} levels`)
  try {
    const text = utf8.decode(bytes)
    return { text, value: JSON.parse(text) }
  } catch (error) {
    throw unrecognized(error instanceof Error ? error.message : String(error))
  }
}

export function unrecognized(reason: string): InvalidInput {
  return new InvalidInput(`Unrecognized request format, caused by: ${reason}`)
}

function isTooDeep(bytes: Uint8Array): boolean {
  let depth = 0
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i]
    if (byte === 0x22) {
      i = endOfString(bytes, i)
    } else if (byte === 0x5b || byte === 0x7b) {
      if (++depth > maxDepth) return true
    } else if (byte === 0x5d || byte === 0x7d) depth--
  }
  return false
}

function endOfString(bytes: Uint8Array, start: number): number {
  for (let i = start + 1; i < bytes.length; i++) {
    const byte = bytes[i]
    if (byte === 0x22) return i
    if (byte === 0x5c) i++
  }
  return bytes.length
}

/**
 * Parses valid JSON text again with integers of 16 and more characters as exact bigints inside `data` lists. Shorter
 * ones survive a double (15 significant digits always do). Quicker and smaller than a reviver by far: the long
 * numbers are put in quotes behind a mark that no sender can know.
 */
export function parseExact(text: string): { value: unknown; exact: (element: unknown) => unknown } {
  const mark = randomUUID()
  const value: unknown = JSON.parse(quoteLongNumbers(text, mark))
  return {
    value,
    exact(element) {
      if (typeof element !== 'string' || !element.startsWith(mark)) return element
      return integerOfText(element.slice(mark.length)) ?? Number.NaN
    },
  }
}

function quoteLongNumbers(text: string, mark: string): string {
  const stringOrLongNumber = /"|-?\d[\d.]{14,}(?:[eE][+-]?\d+)?/g
  const pieces: string[] = []
  let copied = 0
  for (let found = stringOrLongNumber.exec(text); found; found = stringOrLongNumber.exec(text)) {
    if (found[0] === '"') {
      stringOrLongNumber.lastIndex = endOfText(text, found.index) + 1
      continue
    }
    pieces.push(text.slice(copied, found.index), '"', mark, found[0], '"')
    copied = found.index + found[0].length
  }
  return pieces.join('') + text.slice(copied)
}

function endOfText(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); ; end = text.indexOf('"', end + 1)) {
    let backslashes = 0
    while (text[end - 1 - backslashes] === '\\') backslashes++
    if (backslashes % 2 === 0) return end
  }
}
