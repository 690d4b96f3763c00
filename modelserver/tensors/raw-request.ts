/** The form of a request without JSON: the body is the data of the model's only input (header length 0). */

import { InvalidInput } from '../errors.ts'
import { readBytes } from './binary.ts'
import { byteSize } from './datatypes.ts'
import type { Fail } from './elements.ts'
import { countOf, printShape } from './shape.ts'
import type { InferRequest, TensorSpec } from './tensor.ts'

/** Makes the request; all its outputs are asked for in the binary form. Throws only `InvalidInput`. */
export function rawRequest(bytes: Uint8Array, declared: readonly TensorSpec[]): InferRequest {
  const [spec, ...others] = declared
  if (!spec || others.length > 0) {
    throw new InvalidInput(
      `a body without JSON header needs a model with one declared input, this one has ${declared.length}`,
    )
  }
  const { name, datatype } = spec
  const fail: Fail = (reason) => new InvalidInput(`inputs[0]: ${reason}`)
  // Here the body is the element itself, without a length before it.
  const tensor =
    datatype === 'BYTES'
      ? { name, datatype, shape: [1], data: [new Uint8Array(bytes)] }
      : rawTensor(bytes, spec, fail)
  return { inputs: [tensor], parameters: { binary_data_output: true } }
}

function rawTensor(bytes: Uint8Array, { name, datatype, shape: declared }: TensorSpec, fail: Fail) {
  const variable = declared.filter((size) => size < 0).length
  if (variable > 1) throw fail(`shape ${printShape(declared)} has more than one variable dimension`)
  const fixedBytes = countOf(declared.filter((size) => size >= 0)) * byteSize[datatype]
  const rows = fixedBytes === 0 ? 0 : bytes.length / fixedBytes
  if (variable === 1 && !Number.isInteger(rows)) {
    throw fail(`${bytes.length} bytes do not fill shape ${printShape(declared)} of ${datatype}`)
  }
  const shape = declared.map((size) => (size < 0 ? rows : size))
  return { name, datatype, shape, data: readBytes(datatype, shape, bytes, fail) }
}
