/** Reads Open Inference infer requests from bytes or parsed JSON. Owns their checks and texts; refuses models and answers. */

import type { InferRequest, TensorSpec } from './tensor.ts'

export interface InferBody {
  bytes: Uint8Array
  /** Header `Inference-Header-Content-Length` as received; absent: the whole body is JSON. */
  headerLength?: string | undefined
  contentType?: string | undefined
}

/**
 * Decodes a request body: JSON, JSON followed by raw tensors, or (header 0) the raw data of the one declared input,
 * in which case the request gets `parameters.binary_data_output = true`. Source: specification 4.4, 4.5.
 * Throws only `InvalidInput` (400). Memory is bounded by the size of the body, whatever shapes it declares.
 */
export function decodeInferBody(_body: InferBody, _declared: readonly TensorSpec[] = []): InferRequest {
  throw new Error('being written')
}

/**
 * Decodes a request that is already parsed: plain `JSON.parse` values, or those of `parseJson` with `JSON.rawJSON`
 * numbers (needed for INT64/UINT64 beyond 2^53). Tensors already decoded (typed arrays in `data`) pass unchanged.
 * Throws only `InvalidInput`.
 */
export function decodeInferValue(_value: unknown): InferRequest {
  throw new Error('being written')
}
