/** Prints the elements of a tensor as a JSON list. Owns the digits; refuses what JSON cannot say. */

import type { Fail } from './elements.ts'
import { fp16, fp32, type NarrowFloat, shortest } from './numbers.ts'
import type { Datatype, TensorData } from './tensor.ts'

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const askForBinary = 'ask for the binary form (binary_data)'

/** The list as JSON text; fails for what only the binary form can carry, naming that form. */
export function jsonData(datatype: Datatype, data: TensorData, fail: Fail): string {
  switch (datatype) {
    case 'BOOL':
      return JSON.stringify(data)
    case 'BYTES':
      return JSON.stringify(texts(data as string[] | Uint8Array[], fail))
    case 'BF16':
      throw fail(`BF16 has no JSON form, ${askForBinary}`)
    case 'FP16':
      return floats(data as Float16Array, fail, fp16)
    case 'FP32':
      return floats(data as Float32Array, fail, fp32)
    case 'FP64':
      return floats(data as Float64Array, fail)
    default:
      return `[${(data as BigInt64Array).join(',')}]`
  }
}

function floats(data: Float16Array | Float32Array | Float64Array, fail: Fail, narrow?: NarrowFloat): string {
  let text = '['
  for (let i = 0; i < data.length; i++) {
    const value = data[i] ?? 0
    if (!Number.isFinite(value)) {
      throw fail(`data[${i}] is ${value}, which JSON cannot carry, ${askForBinary}`)
    }
    if (i > 0) text += ','
    if (value === 0 && Object.is(value, -0)) text += '-0.0'
    else text += narrow ? shortest(value, narrow) : value
  }
  return `${text}]`
}

function texts(data: readonly (string | Uint8Array)[], fail: Fail): string[] {
  return data.map((element, i) => {
    if (typeof element === 'string') return element
    try {
      return utf8.decode(element)
    } catch {
      throw fail(`data[${i}] is not UTF-8, which JSON cannot carry, ${askForBinary}`)
    }
  })
}
