/** Checks what `predict` returned and picks the outputs a request asks for. Refuses wire forms. */

import { InferenceError, InvalidInput } from '../errors.ts'
import { isDatatype } from './datatypes.ts'
import { elementsOf, type Fail } from './elements.ts'
import { printName } from './request.ts'
import { flatten, printShape, shapeOf } from './shape.ts'
import type { InferOutputs, InferRequest, Parameters, Tensor, TensorSpec } from './tensor.ts'

/** Throws `InvalidInput` (`unknown output zzz`) before predict, when the model declares outputs and lacks one. */
export function checkRequestedOutputs(request: InferRequest, declared: readonly TensorSpec[] = []): void {
  if (declared.length === 0) return
  for (const { name } of request.outputs ?? []) {
    if (!declared.some((spec) => spec.name === name)) throw unknownOutput(name)
  }
}

function unknownOutput(name: string): InvalidInput {
  return new InvalidInput(`unknown output ${printName(name)}`)
}

/**
 * Takes the result of `predict` (a list of tensors, or `{outputs, parameters?}`), checks element counts, datatypes
 * and shapes (against `declared` by name, -1 matching anything), selects and orders as `request.outputs` says, and
 * gives typed arrays. Throws `InferenceError` (500) for a result that does not fit, `InvalidInput` (400,
 * `unknown output zzz`) for an output that does not exist.
 */
export function readOutputs(
  result: unknown,
  request: InferRequest,
  declared: readonly TensorSpec[] = [],
): InferOutputs {
  const { list, parameters } = unwrap(result)
  const tensors = list.map((item, index) => {
    const tensor = checkTensor(item, (reason) => new InferenceError(`outputs[${index}]: ${reason}`))
    checkDeclared(tensor, declared)
    return tensor
  })
  const outputs = select(tensors, request, declared)
  return parameters === undefined ? { outputs } : { outputs, parameters }
}

/** A tensor whose data fits its shape and datatype, as typed arrays. */
export function checkTensor(item: unknown, fail: Fail): Tensor {
  if (typeof item !== 'object' || item === null) throw fail('a tensor object is required')
  const { name, datatype, shape, data, parameters } = item as Record<string, unknown>
  if (typeof name !== 'string') throw fail('name is required')
  if (!isDatatype(datatype)) throw fail(`unknown datatype ${printName(datatype)}`)
  const sizes = shapeOf(shape)
  if (!sizes) throw fail('shape must be a list of non-negative integers')
  const elements = elementsOf(datatype, flatten(data, sizes, fail), { fail, nonFinite: true })
  const tensor: Tensor = { name, shape: sizes, datatype, data: elements }
  if (isParameters(parameters)) tensor.parameters = parameters
  return tensor
}

function unwrap(result: unknown): { list: readonly unknown[]; parameters?: Parameters } {
  if (Array.isArray(result)) return { list: result }
  if (typeof result === 'object' && result !== null && 'outputs' in result && Array.isArray(result.outputs)) {
    const parameters = 'parameters' in result ? result.parameters : undefined
    return isParameters(parameters) ? { list: result.outputs, parameters } : { list: result.outputs }
  }
  throw new InferenceError('predict must return a list of tensors, or {outputs, parameters}')
}

function isParameters(value: unknown): value is Parameters {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function checkDeclared(tensor: Tensor, declared: readonly TensorSpec[]): void {
  const spec = declared.find(({ name }) => name === tensor.name)
  if (!spec) return
  const fits =
    spec.datatype === tensor.datatype &&
    spec.shape.length === tensor.shape.length &&
    spec.shape.every((size, axis) => size < 0 || size === tensor.shape[axis])
  if (fits) return
  throw new InferenceError(
    `output ${printName(tensor.name)}: ${tensor.datatype} ${printShape(tensor.shape)} is not the declared ${spec.datatype} ${printShape(spec.shape)}`,
  )
}

function select(tensors: Tensor[], request: InferRequest, declared: readonly TensorSpec[]): Tensor[] {
  const isDeclared = (name: string) => declared.some((spec) => spec.name === name)
  const wanted = request.outputs ?? []
  if (wanted.length === 0) {
    const absent = declared.find(({ name }) => !tensors.some((tensor) => tensor.name === name))
    if (absent)
      throw new InferenceError(`predict did not return the declared output ${printName(absent.name)}`)
    return tensors
  }
  return wanted.map(({ name }) => {
    const tensor = tensors.find((candidate) => candidate.name === name)
    if (tensor) return tensor
    if (isDeclared(name))
      throw new InferenceError(`predict did not return the declared output ${printName(name)}`)
    throw unknownOutput(name)
  })
}
