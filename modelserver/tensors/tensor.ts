/** What a tensor is inside the model server. Owns the types that hooks see; refuses wire forms. */

/** Datatypes of the Open Inference Protocol v2. BF16 exists in the binary form only. */
export type Datatype =
  | 'BOOL'
  | 'UINT8'
  | 'UINT16'
  | 'UINT32'
  | 'UINT64'
  | 'INT8'
  | 'INT16'
  | 'INT32'
  | 'INT64'
  | 'FP16'
  | 'FP32'
  | 'FP64'
  | 'BF16'
  | 'BYTES'

/**
 * Elements in row-major order, always flat. BOOL: `boolean[]`; integers: the typed array of that width, 64-bit ones
 * with bigint elements; FP16: `Float16Array`; FP32 and BF16: `Float32Array`; FP64: `Float64Array`; BYTES: `string[]`
 * from the JSON form, `Uint8Array[]` from the binary form.
 */
export type TensorData =
  | boolean[]
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Float16Array
  | Float32Array
  | Float64Array
  | string[]
  | Uint8Array[]

export type Parameters = Record<string, string | number | boolean>

/** A tensor whose data is checked: `data.length` is the product of `shape` (`[]` holds one element). */
export interface Tensor {
  name: string
  shape: number[]
  datatype: Datatype
  data: TensorData
  parameters?: Parameters
}

/**
 * What a model may return: `data` is a `TensorData`, or any array of numbers, bigints, booleans, strings or
 * `Uint8Array`s that fit the datatype, flat or nested exactly as `shape`.
 */
export interface ReturnedTensor {
  name: string
  shape: readonly number[]
  datatype: Datatype
  data: TensorData | readonly unknown[]
  parameters?: Parameters
}

/** A tensor as a model declares it in its metadata; -1 in `shape` is a variable dimension. */
export interface TensorSpec {
  name: string
  datatype: Datatype
  shape: readonly number[]
}

/** A decoded inference request, as hooks get it. `id` is absent when the body has none. */
export interface InferRequest {
  id?: string
  parameters?: Parameters
  inputs: Tensor[]
  /** Outputs asked for, in the order of the answer; absent: all. */
  outputs?: RequestedOutput[]
}

export interface RequestedOutput {
  name: string
  parameters?: Parameters
}

/** Outputs of one inference: checked, selected and ordered as the request asks. */
export interface InferOutputs {
  outputs: Tensor[]
  parameters?: Parameters
}

/** An answer ready to send. `headerLength` is set for the binary form: the `Inference-Header-Content-Length`. */
export interface EncodedAnswer {
  body: string | Uint8Array<ArrayBuffer>
  contentType: 'application/json' | 'application/octet-stream'
  headerLength?: number
}
