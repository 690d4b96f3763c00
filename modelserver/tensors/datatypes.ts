/** The table of tensor datatypes: width in bytes and the array that holds the elements of each. */

import type { Datatype, TensorData } from './tensor.ts'

/** Bytes per element in the binary form; 0 for BYTES, whose elements carry their own lengths. */
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

export type SmallInteger = 'UINT8' | 'UINT16' | 'UINT32' | 'INT8' | 'INT16' | 'INT32'
export type BigInteger = 'UINT64' | 'INT64'
export type Float = 'FP16' | 'FP32' | 'FP64' | 'BF16'

/** The typed array of each numeric datatype, as hooks see it. */
export const arrayOf = {
  UINT8: Uint8Array,
  UINT16: Uint16Array,
  UINT32: Uint32Array,
  UINT64: BigUint64Array,
  INT8: Int8Array,
  INT16: Int16Array,
  INT32: Int32Array,
  INT64: BigInt64Array,
  FP16: Float16Array,
  FP32: Float32Array,
  FP64: Float64Array,
  BF16: Float32Array,
} as const satisfies Record<SmallInteger | BigInteger | Float, unknown>

export function isDatatype(name: unknown): name is Datatype {
  return typeof name === 'string' && Object.hasOwn(byteSize, name)
}

export function isBigInteger(datatype: Datatype): datatype is BigInteger {
  return datatype === 'INT64' || datatype === 'UINT64'
}

export function isFloat(datatype: Datatype): datatype is Float {
  return datatype === 'FP16' || datatype === 'FP32' || datatype === 'FP64' || datatype === 'BF16'
}

/** Whether `data` already is the typed array of `datatype`; never so for BOOL and BYTES, which are plain arrays. */
export function isTyped(datatype: Datatype, data: unknown): data is TensorData {
  return datatype !== 'BOOL' && datatype !== 'BYTES' && data instanceof arrayOf[datatype]
}
