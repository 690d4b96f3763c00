/** The table of tensor datatypes: width in bytes, what elements are, and the array that holds them. */

import type { Datatype } from './tensor.ts'

/** Bytes per element; 0 for BYTES, whose elements have their own lengths. */
export const byteSize: Record<Datatype, number> = {
  BOOL: 1,
  UINT8: 1,
  UINT16: 2,
  UINT32: 4,
  UINT64: 8,
  INT8: 1,
  INT16: 2,
  INT32: 4,
  INT64: 8,
  FP16: 2,
  FP32: 4,
  FP64: 8,
  BF16: 2,
  BYTES: 0,
}

export function isDatatype(name: unknown): name is Datatype {
  return typeof name === 'string' && Object.hasOwn(byteSize, name)
}
