/** Joins tensors of several requests along their first dimension and cuts them apart again, for batching. */

import type { Tensor, TensorData } from './tensor.ts'

/** Joins tensors of equal datatype and trailing shape into one whose `shape[0]` is the sum. At least one tensor. */
export function joinRows(_tensors: readonly Tensor[]): Tensor {
  throw new Error('being written')
}

/** Cuts a tensor into pieces of the given row counts; undefined when `shape[0]` is not exactly their sum. */
export function cutRows(_tensor: Tensor, _rows: readonly number[]): Tensor[] | undefined {
  throw new Error('being written')
}

/**
 * A JSON-safe snapshot for tracking records: copies; bigints become numbers, or `JSON.rawJSON` beyond 2^53;
 * non-finite floats null; binary BYTES base64.
 */
export function snapshotTensor(_tensor: Tensor): Omit<Tensor, 'data'> & { data: unknown[] } {
  throw new Error('being written')
}

export type { TensorData }
