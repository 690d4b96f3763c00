/** Counts what a shape holds and lays nested data flat. Allocates nothing that the data itself does not hold. */

import { type Fail, rawText } from './elements.ts'

const shownDimensions = 8

/** A shape as wire texts show it: `[3,2]`, long ones cut. */
export function printShape(shape: readonly number[]): string {
  const shown = shape.slice(0, shownDimensions).join(',')
  return shape.length > shownDimensions ? `[${shown},…]` : `[${shown}]`
}

/** A list of non-negative integers (numbers, or digits that `parseJson` kept), or undefined. */
export function shapeOf(value: unknown): number[] | undefined {
  if (!Array.isArray(value) && !(ArrayBuffer.isView(value) && 'length' in value)) return undefined
  const shape: number[] = []
  for (const dimension of value as Iterable<unknown>) {
    const size = typeof dimension === 'number' ? dimension : Number(rawText(dimension) ?? Number.NaN)
    if (!Number.isSafeInteger(size) || size < 0) return undefined
    shape.push(size + 0)
  }
  return shape
}

/** Number of elements; for an absurd shape a number that is too large rather than an overflow. `[]` holds one. */
export function countOf(shape: readonly number[]): number {
  if (shape.includes(0)) return 0
  return shape.reduce((count, size) => count * size, 1)
}

/**
 * The flat list of `data`, which is flat or nested exactly as `shape`, with as many elements as the shape needs.
 * Goes level by level, so depth costs no stack.
 */
export function flatten(data: unknown, shape: readonly number[], fail: Fail): ArrayLike<unknown> {
  if (ArrayBuffer.isView(data) && 'length' in data)
    return counted(data as unknown as ArrayLike<unknown>, shape, fail)
  if (!Array.isArray(data)) {
    if (shape.length === 0 && data !== undefined && (typeof data !== 'object' || rawText(data))) return [data]
    throw fail('data must be a list')
  }
  if (!Array.isArray(data[0])) return counted(data, shape, fail)
  let level: unknown[] = data
  for (const [depth, size] of shape.entries()) {
    const last = depth === shape.length - 1
    const lists: unknown[][] = depth === 0 ? [level] : (level as unknown[][])
    if (!lists.every((list) => Array.isArray(list) && list.length === size)) {
      throw misnested(data, shape, fail)
    }
    if (last || depth > 0) level = lists.flat()
  }
  if (shape.length < 2) throw misnested(data, shape, fail)
  return counted(level, shape, fail)
}

function counted(values: ArrayLike<unknown>, shape: readonly number[], fail: Fail): ArrayLike<unknown> {
  const needed = countOf(shape)
  if (values.length === needed) return values
  throw fail(`shape ${printShape(shape)} needs ${needed} elements, got ${values.length}`)
}

function misnested(data: unknown[], shape: readonly number[], fail: Fail): Error {
  let count = 0
  for (let level: unknown[] = data; level.length > 0; ) {
    const lists: unknown[][] = []
    for (const item of level) {
      if (Array.isArray(item)) lists.push(item)
      else count++
    }
    level = lists.flat()
  }
  const needed = countOf(shape)
  return count === needed
    ? fail(`data must be flat or nested exactly as shape ${printShape(shape)}`)
    : fail(`shape ${printShape(shape)} needs ${needed} elements, got ${count}`)
}
