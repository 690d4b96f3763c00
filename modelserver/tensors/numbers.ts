/** Digits of numbers: exact integers out of JSON text, and the shortest text that reads back as the same float. */

/**
 * The integer a JSON number stands for (`12`, `1.20e1`), digit for digit; undefined if it is none or has more than
 * 20 digits, which no 64-bit integer needs. The text is what a JSON parser accepted as a number.
 */
export function integerOfText(text: string): bigint | undefined {
  const parts = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text)
  if (!parts) return undefined
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = parts
  const digits = whole + fraction
  let start = 0
  let end = digits.length
  while (start < end && digits[start] === '0') start++
  while (end > start && digits[end - 1] === '0') end--
  if (start === end) return 0n
  const zeros = Number(exponent) - fraction.length + (digits.length - end)
  if (zeros < 0 || end - start + zeros > 20) return undefined
  return BigInt(`${sign}${digits.slice(start, end)}${'0'.repeat(zeros)}`)
}

/** A float format narrower than a double: how it rounds, and how many decimal digits it always keeps and ever needs. */
export interface NarrowFloat {
  round(value: number): number
  safeDigits: number
  maxDigits: number
  smallestNormal: number
}

export const fp32: NarrowFloat = {
  round: Math.fround,
  safeDigits: 6,
  maxDigits: 9,
  smallestNormal: 2 ** -126,
}

export const fp16: NarrowFloat = {
  round: Math.f16round,
  safeDigits: 3,
  maxDigits: 5,
  smallestNormal: 2 ** -14,
}

/**
 * The double whose shortest text is the shortest decimal that reads back as `value` in `format`. `value` is finite
 * and already rounded to the format. Below `safeDigits` digits nothing can be lost, so the search starts there.
 */
export function shortest(value: number, format: NarrowFloat): number {
  if (Number.isInteger(value) && Math.abs(value) < 100_000) return value
  const magnitude = Math.abs(value)
  const first = magnitude < format.smallestNormal ? 1 : format.safeDigits
  const exponent = Math.floor(Math.log10(magnitude))
  for (let digits = first; digits < format.maxDigits; digits++) {
    const candidate = roundToDigits(value, digits, exponent)
    if (format.round(candidate) === value) return candidate
    // The gap below a power of two is half the gap above it, so a decimal above may fit where the nearest does not.
    const away = candidate + Math.sign(value) * 10 ** (exponent - digits + 1)
    if (isPowerOfTwo(magnitude) && format.round(away) === value) return roundToDigits(away, digits, exponent)
  }
  const last = roundToDigits(value, format.maxDigits, exponent)
  return format.round(last) === value ? last : value
}

/** `value` at that many significant digits. Powers of ten up to 10^22 are exact doubles, so one division is enough. */
function roundToDigits(value: number, digits: number, exponent: number): number {
  const power = digits - 1 - exponent
  if (power >= 0 && power <= 22) return Math.round(value * 10 ** power) / 10 ** power
  if (power < 0 && power >= -22) return Math.round(value / 10 ** -power) * 10 ** -power
  return Number(value.toPrecision(digits))
}

function isPowerOfTwo(magnitude: number): boolean {
  return Number.isInteger(Math.log2(magnitude))
}
