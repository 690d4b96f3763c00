/** Copies what a record shows, so that later changes of live objects do not reach it. Everything copied is JSON-safe. */

import { snapshotTensor, type Tensor } from '../tensors/index.ts'

/**
 * A deep copy as JSON would carry it: `toJSON` is honoured, undefined members go, non-finite numbers are null, bigints
 * are numbers or, beyond 2^53, `JSON.rawJSON`; typed arrays are lists, tensors as in `snapshotTensor`, plain byte
 * arrays base64. What cannot be copied (a cycle, a throwing getter) is shown as a text that says so.
 */
export function snapshot(value: unknown): unknown {
  try {
    return copy(value, [])
  } catch (error) {
    return `<not recordable: ${error instanceof Error ? error.message : String(error)}>`
  }
}

function copy(value: unknown, above: readonly unknown[]): unknown {
  if (typeof value === 'number') return Number.isFinite(value) ? value : null
  if (typeof value === 'bigint') return copyBigint(value)
  if (typeof value === 'function' || typeof value === 'symbol') return undefined
  if (typeof value !== 'object' || value === null || JSON.isRawJSON(value)) return value
  if (above.includes(value)) throw new TypeError('it contains itself')
  if (value instanceof Uint8Array)
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64')
  if (ArrayBuffer.isView(value) && Symbol.iterator in value)
    return copyList(value as Iterable<unknown> & object, above)
  if (Array.isArray(value)) return copyList(value, above)
  if (isTensor(value)) return snapshotTensor(value)
  if ('toJSON' in value && typeof value.toJSON === 'function') return copy(value.toJSON(), above)
  const deeper = [...above, value]
  const result: Record<string, unknown> = {}
  for (const [name, member] of Object.entries(value)) {
    const copied = copy(member, deeper)
    // defineProperty semantics: a member called __proto__ stays a member.
    if (copied !== undefined)
      Object.defineProperty(result, name, {
        value: copied,
        writable: true,
        enumerable: true,
        configurable: true,
      })
  }
  return result
}

function copyList(list: Iterable<unknown> & object, above: readonly unknown[]): unknown[] {
  const deeper = [...above, list]
  return Array.from(list, (item) => copy(item, deeper) ?? null)
}

function copyBigint(value: bigint): unknown {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : JSON.rawJSON(value.toString())
}

// Checked tensors only (typed data as hooks see it): what a model returned loosely is copied like any other object.
function isTensor(value: object): value is Tensor {
  return 'datatype' in value && 'shape' in value && 'data' in value && ArrayBuffer.isView(value.data)
}
