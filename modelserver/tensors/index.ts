/** The door of tensors: Open Inference requests and answers in their JSON and binary forms. */

export { encodeAnswer, type InferAnswer, isInferAnswer } from './answer.ts'
export { byteSize, isDatatype } from './datatypes.ts'
export { checkRequestedOutputs, readOutputs } from './outputs.ts'
export { decodeInferBody, decodeInferValue, type InferBody } from './request.ts'
export { cutRows, joinRows, snapshotTensor } from './rows.ts'
export type {
  Datatype,
  EncodedAnswer,
  InferOutputs,
  InferRequest,
  Parameters,
  RequestedOutput,
  ReturnedTensor,
  Tensor,
  TensorData,
  TensorSpec,
} from './tensor.ts'
