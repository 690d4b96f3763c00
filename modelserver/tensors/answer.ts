/** Writes Open Inference infer answers as JSON or with binary tensors. Refuses to choose outputs. */

import type { EncodedAnswer, InferRequest, Tensor } from './tensor.ts'

/** The envelope of an answer: `outputs` plus members written as JSON as they are (undefined ones are left out). */
export interface InferAnswer {
  model_name: string
  model_version?: string
  id?: string
  outputs: Tensor[]
  [member: string]: unknown
}

/** Whether a postprocessed envelope still has tensors in `outputs`, so that `encodeAnswer` can write it. */
export function isInferAnswer(_value: unknown): _value is InferAnswer {
  throw new Error('being written')
}

/**
 * Encodes an answer. An output is binary if its requested `parameters.binary_data` is true, or the request parameter
 * `binary_data_output` is true and `binary_data` is not false; without a binary output the body is a JSON string.
 * 64-bit integers are printed digit for digit, FP32 and FP16 in the shortest form that reads back the same.
 * Throws `InferenceError` (500) for non-finite floats, BF16 and non-UTF-8 BYTES in a JSON output.
 */
export function encodeAnswer(_answer: InferAnswer, _request: InferRequest): EncodedAnswer {
  throw new Error('being written')
}
