/** Joins tensors of several requests along their first dimension, cuts them apart again, and copies them for records. */

import { arrayOf } from './datatypes.ts'
import { countOf } from './shape.ts'
import type { Tensor, TensorData } from './tensor.ts'

/** Joins tensors of equal datatype and trailing shape into one whose `shape[0]` is the sum. At least one tensor. */
export function joinRows(tensors: readonly Tensor[]): Tensor {
  const [first] = tensors
  if (!first) throw new RangeError('there is no tensor to join')
  const rows = tensors.reduce((sum, { shape }) => sum + (shape[0] ?? 0), 0)
  return { ...first, shape: [rows, ...first.shape.slice(1)], data: joinData(first, tensors) }
}

function joinData({ datatype }: Tensor, tensors: readonly Tensor[]): TensorData {
  if (datatype === 'BOOL') return tensors.flatMap(({ data }) => data as boolean[])
  if (datatype === 'BYTES') return joinBytes(tensors)
  const joined = new arrayOf[datatype](tensors.reduce((count, { data }) => count + data.length, 0))
  let at = 0
  for (const { data } of tensors) {
    // One of the pair is always right: the datatypes are equal.
    joined.set(data as never, at)
    at += data.length
  }
  return joined
}

// Requests may differ in form: some sent strings, some bytes. Bytes can carry both.
function joinBytes(tensors: readonly Tensor[]): string[] | Uint8Array[] {
  const elements = tensors.flatMap(({ data }) => data as (string | Uint8Array)[])
  const strings = elements.filter((element) => typeof element === 'string')
  if (strings.length === elements.length) return strings
  const encoder = new TextEncoder()
  return elements.map((element) => (typeof element === 'string' ? encoder.encode(element) : element))
}

/** Cuts a tensor into pieces of the given row counts; undefined when `shape[0]` is not exactly their sum. */
export function cutRows(tensor: Tensor, rows: readonly number[]): Tensor[] | undefined {
  const [total, ...trailing] = tensor.shape
  if (total !== rows.reduce((sum, count) => sum + count, 0)) return undefined
  const width = countOf(trailing)
  let at = 0
  return rows.map((count) => {
    const data = tensor.data.slice(at, at + count * width)
    at += count * width
    return { ...tensor, shape: [count, ...trailing], data }
  })
}

/**
 * A JSON-safe snapshot for tracking records: copies; bigints become numbers, or `JSON.rawJSON` beyond 2^53;
 * non-finite floats null; binary BYTES base64.
 */
export function snapshotTensor(tensor: Tensor): Omit<Tensor, 'data'> & { data: unknown[] } {
  const { data, shape, parameters, ...rest } = tensor
  return {
    ...rest,
    shape: [...shape],
    ...(parameters && { parameters: { ...parameters } }),
    data: Array.from<unknown, unknown>(data, snapshotElement),
  }
}

function snapshotElement(element: unknown): unknown {
  if (typeof element === 'bigint') {
    const number = Number(element)
    return Number.isSafeInteger(number) ? number : JSON.rawJSON(String(element))
  }
  if (typeof element === 'number') return Number.isFinite(element) ? element : null
  if (element instanceof Uint8Array) return Buffer.from(element).toString('base64')
  return element
}
