/** Reads Open Inference infer requests from bytes or parsed JSON. Owns their checks and texts; refuses models and answers. */

import { isJsonObject } from '../../contracts/json.ts'
import { InvalidInput } from '../errors.ts'
import { readBytes } from './binary.ts'
import { byteSize, isDatatype } from './datatypes.ts'
import { elementsOf, type Fail, rawText } from './elements.ts'
import { parseBytes, parseExact, unrecognized } from './json-text.ts'
import { rawRequest } from './raw-request.ts'
import { flatten, printShape, shapeOf } from './shape.ts'
import type { InferRequest, Parameters, RequestedOutput, Tensor, TensorSpec } from './tensor.ts'

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
export function decodeInferBody(body: InferBody, declared: readonly TensorSpec[] = []): InferRequest {
  const { headerLength, contentType } = body
  const bytes = new Uint8Array(body.bytes.buffer, body.bytes.byteOffset, body.bytes.byteLength)
  if (headerLength === undefined) {
    if (mediaType(contentType) === 'application/octet-stream') {
      throw new InvalidInput(
        "received byte inputs, but the 'Inference-Header-Content-Length' header is missing",
      )
    }
    return decodeParts(bytes, bytes.subarray(bytes.length))
  }
  const length = /^\d{1,15}$/.test(headerLength) ? Number(headerLength) : Number.NaN
  if (!(length <= bytes.length)) {
    throw new InvalidInput(
      `Inference-Header-Content-Length must be a number up to the ${bytes.length} bytes of the body`,
    )
  }
  if (length === 0) return rawRequest(bytes, declared)
  return decodeParts(bytes.subarray(0, length), bytes.subarray(length))
}

/**
 * Decodes a request that is already parsed: plain `JSON.parse` values, or those of `parseJson` with `JSON.rawJSON`
 * numbers (needed for INT64/UINT64 beyond 2^53). Tensors already decoded (typed arrays in `data`) pass unchanged.
 * Throws only `InvalidInput`.
 */
export function decodeInferValue(value: unknown): InferRequest {
  return decodeObject(value, new Uint8Array(0))
}

function decodeParts(json: Uint8Array, tail: Uint8Array): InferRequest {
  const { text, value } = parseBytes(json)
  let again: ReturnType<typeof parseExact> | undefined
  return decodeObject(value, tail, (index) => {
    again ??= parseExact(text)
    const inputs = isJsonObject(again.value) ? again.value.inputs : undefined
    const tensor: unknown = Array.isArray(inputs) ? inputs[index] : undefined
    return { data: isJsonObject(tensor) ? tensor.data : undefined, exact: again.exact }
  })
}

type ExactData = (index: number) => { data: unknown; exact: (element: unknown) => unknown }

function decodeObject(value: unknown, tail: Uint8Array, exactData?: ExactData): InferRequest {
  if (!isJsonObject(value)) throw unrecognized('a JSON object is required')
  const { id, inputs, outputs } = value
  if (inputs === undefined) throw new InvalidInput('Expected key "inputs" in request body')
  if (!Array.isArray(inputs)) throw new InvalidInput('Expected "inputs" to be a list')
  if (inputs.length === 0) throw new InvalidInput('"inputs" must hold at least one tensor')
  // Clients write null for members they leave out.
  if (id !== undefined && id !== null && typeof id !== 'string') throw new InvalidInput('id must be a string')
  const parameters = parametersOf(value.parameters, (reason) => new InvalidInput(reason))
  const request: InferRequest = { inputs: decodeTensors(inputs, tail, exactData) }
  if (typeof id === 'string') request.id = id
  if (parameters) request.parameters = parameters
  const requested = requestedOutputs(outputs)
  if (requested.length > 0) request.outputs = requested
  return request
}

function decodeTensors(inputs: unknown[], tail: Uint8Array, exactData?: ExactData): Tensor[] {
  let at = 0
  const tensors = inputs.map((input, index) => {
    const fail: Fail = (reason) => new InvalidInput(`inputs[${index}]: ${reason}`)
    const { tensor, data, binarySize } = headOf(input, fail)
    const { datatype, shape } = tensor
    if (binarySize !== undefined) {
      if (binarySize > tail.length - at) {
        throw fail(
          `binary_data_size ${binarySize} is more than the ${tail.length - at} bytes left in the body`,
        )
      }
      at += binarySize
      return { ...tensor, data: readBytes(datatype, shape, tail.subarray(at - binarySize, at), fail) }
    }
    const exact = exactData && (() => exactElements(exactData(index), shape, fail))
    const rules = { fail, nonFinite: ArrayBuffer.isView(data), ...(exact && { exact }) }
    return { ...tensor, data: elementsOf(datatype, flatten(data, shape, fail), rules) }
  })
  if (at !== tail.length)
    throw new InvalidInput(`the body has ${tail.length - at} bytes behind the last tensor`)
  return tensors
}

function exactElements(again: ReturnType<ExactData>, shape: readonly number[], fail: Fail): unknown[] {
  return Array.from(flatten(again.data, shape, fail), again.exact)
}

interface Head {
  tensor: Omit<Tensor, 'data'>
  data: unknown
  binarySize?: number
}

/** Everything of a tensor but its elements. */
function headOf(input: unknown, fail: Fail): Head {
  if (!isJsonObject(input)) throw fail('a tensor object is required')
  const { name, datatype, data } = input
  for (const member of ['name', 'shape', 'datatype']) {
    if (input[member] === undefined || input[member] === null) throw fail(`${member} is required`)
  }
  if (typeof name !== 'string') throw fail('name must be a string')
  const shape = shapeOf(input.shape)
  if (!shape) throw fail('shape must be a list of non-negative integers')
  if (!isDatatype(datatype)) throw fail(`unknown datatype ${printName(datatype)}`)
  const { binary_data_size: binarySize, ...rest } = parametersOf(input.parameters, fail) ?? {}
  const tensor: Omit<Tensor, 'data'> = { name, shape, datatype }
  if (Object.keys(rest).length > 0) tensor.parameters = rest
  const hasData = data !== undefined && data !== null
  if (binarySize === undefined) {
    if (!hasData) throw fail('data is required')
    if (datatype === 'BF16' && !ArrayBuffer.isView(data)) throw fail('BF16 exists in the binary form only')
    return { tensor, data }
  }
  if (hasData) throw fail('data and binary_data_size exclude each other')
  if (typeof binarySize !== 'number' || !Number.isSafeInteger(binarySize) || binarySize < 0) {
    throw fail('binary_data_size must be a number of bytes')
  }
  const width = byteSize[datatype]
  if (width > 0 && binarySize % width !== 0) {
    throw fail(`binary_data_size ${binarySize} does not match shape ${printShape(shape)} of ${datatype}`)
  }
  return { tensor, data, binarySize }
}

function parametersOf(value: unknown, fail: Fail): Parameters | undefined {
  if (value === undefined || value === null) return undefined
  if (!isJsonObject(value)) throw fail('parameters must be an object')
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => {
      const digits = rawText(member)
      if (digits !== undefined) return [key, Number(digits)]
      if (typeof member === 'string' || typeof member === 'number' || typeof member === 'boolean') {
        return [key, member]
      }
      throw fail(`parameter ${printName(key)} must be a string, number or boolean`)
    }),
  )
}

function requestedOutputs(value: unknown): RequestedOutput[] {
  if (value === undefined || value === null) return []
  if (!Array.isArray(value)) throw new InvalidInput('Expected "outputs" to be a list')
  const seen = new Set<string>()
  return value.map((output: unknown, index) => {
    const fail: Fail = (reason) => new InvalidInput(`outputs[${index}]: ${reason}`)
    if (!isJsonObject(output)) throw fail('an output object is required')
    if (typeof output.name !== 'string') throw fail('name is required')
    // Each repetition would repeat the whole output in the answer.
    if (seen.has(output.name)) throw fail(`${printName(output.name)} is requested twice`)
    seen.add(output.name)
    const parameters = parametersOf(output.parameters, fail)
    return { name: output.name, ...(parameters && { parameters }) }
  })
}

/** A sender's word as an error text repeats it, cut when long. */
export function printName(value: unknown): string {
  const text = typeof value === 'string' ? value : typeof value
  return text.length > 100 ? `${text.slice(0, 100)}…` : text
}

function mediaType(contentType: string | undefined): string {
  return (contentType?.split(';', 1)[0] ?? '').trim().toLowerCase()
}
