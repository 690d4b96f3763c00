/** JSON in and out with every number digit for digit: what a double cannot hold travels as its source text. */

declare global {
  interface JSON {
    rawJSON(text: string): unknown
    isRawJSON(value: unknown): boolean
  }
}

// Any number token that could change when read as a double and printed again: 16 or more digits (a dot counted),
// an exponent, a trailing zero behind a dot, a negative zero. Text inside strings may match too: that costs time only.
const risky = /[\d.]{16}|\d[eE]|\.\d*0(?!\d)|-0/

function keepSource(_key: string, value: unknown, context?: { source?: string }): unknown {
  if (typeof value !== 'number' || context?.source === undefined) return value
  return String(value) === context.source ? value : JSON.rawJSON(context.source)
}

/** Parses JSON; numbers that a double would change become `JSON.rawJSON` objects. Throws `SyntaxError`. */
export function parseJson(text: string): unknown {
  return risky.test(text)
    ? JSON.parse(text, keepSource as (key: string, value: unknown) => unknown)
    : JSON.parse(text)
}

/** Prints what `parseJson` read, with the same digits. */
export function printJson(value: unknown): string {
  return JSON.stringify(value)
}

export function isJsonObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !JSON.isRawJSON(value)
}

/** The number that `parseJson` read, undefined if the value is none. */
export function numberIn(value: unknown): number | undefined {
  const number = JSON.isRawJSON(value) ? Number(printJson(value)) : value
  return typeof number === 'number' && Number.isFinite(number) ? number : undefined
}
