/** Writes Open Inference infer answers as JSON or with binary tensors. Refuses to choose outputs. */

import { InferenceError } from '../errors.ts'
import { writeBytes } from './binary.ts'
import { isDatatype } from './datatypes.ts'
import type { Fail } from './elements.ts'
import { jsonData } from './json-data.ts'
import { checkTensor } from './outputs.ts'
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
export function isInferAnswer(value: unknown): value is InferAnswer {
  if (typeof value !== 'object' || value === null || !('outputs' in value)) return false
  return Array.isArray(value.outputs) && value.outputs.every(looksLikeTensor)
}

function looksLikeTensor(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    'data' in value &&
    'shape' in value &&
    'datatype' in value &&
    isDatatype(value.datatype)
  )
}

/**
 * Encodes an answer. An output is binary if its requested `parameters.binary_data` is true, or the request parameter
 * `binary_data_output` is true and `binary_data` is not false; without a binary output the body is a JSON string.
 * 64-bit integers are printed digit for digit, FP32 and FP16 in the shortest form that reads back the same.
 * Throws `InferenceError` (500) for non-finite floats, BF16 and non-UTF-8 BYTES in a JSON output.
 */
export function encodeAnswer(answer: InferAnswer, request: InferRequest): EncodedAnswer {
  const tails: Uint8Array[] = []
  const outputs = answer.outputs.map((output, index) => {
    const fail: Fail = (reason) => new InferenceError(`outputs[${index}]: ${reason}`)
    // Checked again: postprocess may have replaced it.
    const tensor = checkTensor(output, fail)
    if (!isBinary(tensor.name, request)) return jsonTensor(tensor, fail)
    const bytes = writeBytes(tensor.datatype, tensor.data)
    tails.push(bytes)
    return binaryTensor(tensor, bytes.length)
  })
  const json = envelopeText(answer, outputs)
  if (tails.length === 0) return { body: json, contentType: 'application/json' }
  const header = new TextEncoder().encode(json)
  return {
    body: joined([header, ...tails]),
    contentType: 'application/octet-stream',
    headerLength: header.length,
  }
}

function isBinary(name: string, request: InferRequest): boolean {
  const own = request.outputs?.find((output) => output.name === name)?.parameters?.binary_data
  return own === true || (request.parameters?.binary_data_output === true && own !== false)
}

function envelopeText(answer: InferAnswer, outputs: string[]): string {
  const members: string[] = []
  for (const [key, value] of Object.entries(answer)) {
    const text = key === 'outputs' ? `[${outputs.join(',')}]` : JSON.stringify(value)
    if (text !== undefined) members.push(`${JSON.stringify(key)}:${text}`)
  }
  return `{${members.join(',')}}`
}

function jsonTensor({ name, shape, datatype, data, parameters }: Tensor, fail: Fail): string {
  const head = JSON.stringify({ name, shape, datatype, parameters })
  return `${head.slice(0, -1)},"data":${jsonData(datatype, data, fail)}}`
}

function binaryTensor({ name, shape, datatype, parameters }: Tensor, size: number): string {
  return JSON.stringify({ name, shape, datatype, parameters: { ...parameters, binary_data_size: size } })
}

function joined(parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const body = new Uint8Array(parts.reduce((size, part) => size + part.length, 0))
  let at = 0
  for (const part of parts) {
    body.set(part, at)
    at += part.length
  }
  return body
}
