/** Checks what `predict` returned and picks the outputs a request asks for. Refuses wire forms. */

import type { InferOutputs, InferRequest, TensorSpec } from './tensor.ts'

/** Throws `InvalidInput` (`unknown output zzz`) before predict, when the model declares outputs and lacks one. */
export function checkRequestedOutputs(_request: InferRequest, _declared: readonly TensorSpec[] = []): void {
  throw new Error('being written')
}

/**
 * Takes the result of `predict` (a list of tensors, or `{outputs, parameters?}`), checks element counts, datatypes
 * and shapes (against `declared` by name, -1 matching anything), selects and orders as `request.outputs` says, and
 * gives typed arrays. Throws `InferenceError` (500) for a result that does not fit, `InvalidInput` (400,
 * `unknown output zzz`) for an output that does not exist.
 */
export function readOutputs(
  _result: unknown,
  _request: InferRequest,
  _declared: readonly TensorSpec[] = [],
): InferOutputs {
  throw new Error('being written')
}
