/** Nested JSON arrays as tensors: elements in order, and the shape they have. Pure. */

/** All elements in row-major order; a scalar is one element. */
export function flatten(data: unknown): unknown[] {
  return Array.isArray(data) ? data.flat(Number.POSITIVE_INFINITY) : data === undefined ? [] : [data]
}

/** The shape of nested arrays; undefined when they are ragged. A scalar has the shape []. */
export function shapeOf(data: unknown): number[] | undefined {
  if (!Array.isArray(data)) return []
  const inner = data.map(shapeOf)
  const [first] = inner
  if (first === undefined) return data.length === 0 ? [0] : undefined
  return inner.every((shape) => shape !== undefined && shape.join() === first.join())
    ? [data.length, ...first]
    : undefined
}

/** A JSON number, or the names of the three that JSON lacks. */
export function numberOf(value: unknown): number | undefined {
  if (typeof value === 'number') return value
  if (value === 'NaN' || value === 'Infinity' || value === '-Infinity') return Number(value)
  return undefined
}
