/** Open Inference Protocol at a model: metadata, reading requests, building and writing answers (4.4). Codec: tensors/. */

import type { RequestContext } from './context.ts'
import type { ModelEvent } from './event.ts'
import { header } from './messages/headers.ts'
import type { V2ModelServer } from './model.ts'
import type { Feature } from './model-spec.ts'
import { jsonReply, Reply } from './reply.ts'
import {
  decodeInferBody,
  decodeInferValue,
  encodeAnswer,
  type InferRequest,
  isDatatype,
  isInferAnswer,
  readOutputs,
  type TensorSpec,
} from './tensors/index.ts'

const lengthHeader = 'inference-header-content-length'

/** Metadata of a model; `versions` are those registered under its name, left out if it has none. */
export function oipMetadata(model: V2ModelServer<object>, versions: readonly string[]): object {
  return {
    name: model.name,
    ...(model.version === '' ? {} : { versions }),
    platform: '',
    inputs: tensorSpecs(model.modelSpec?.inputs),
    outputs: tensorSpecs(model.modelSpec?.outputs),
  }
}

/** The declared features that are tensors: those with a datatype and a shape. */
export function tensorSpecs(features: readonly Feature[] | undefined): TensorSpec[] {
  const specs: TensorSpec[] = []
  for (const { name, datatype, shape } of features ?? []) {
    if (isDatatype(datatype) && Array.isArray(shape)) specs.push({ name, datatype, shape })
  }
  return specs
}

/** Whether a body must reach the codec as bytes: it has the binary header or says it is an octet-stream. */
export function isBinary(event: ModelEvent): boolean {
  return event.headers[lengthHeader] !== undefined || event.contentType.startsWith('application/octet-stream')
}

/** The tensors of a request, from raw bytes or from a body that something before parsed. Throws `InvalidInput`. */
export function readRequest(event: ModelEvent, body: unknown, declared: readonly TensorSpec[]): InferRequest {
  if (!(body instanceof Uint8Array)) return decodeInferValue(body ?? {})
  return decodeInferBody(
    { bytes: body, headerLength: header(event.headers, lengthHeader), contentType: event.contentType },
    declared,
  )
}

/** The envelope before postprocess: absent members are left out. */
export function oipEnvelope(
  model: V2ModelServer<object>,
  ctx: RequestContext,
  result: unknown,
  request: InferRequest,
  declared: readonly TensorSpec[],
): object {
  const { outputs, parameters } = readOutputs(result, request, declared)
  return {
    model_name: model.name,
    ...(model.version === '' ? {} : { model_version: model.version }),
    id: ctx.id,
    outputs,
    ...(parameters === undefined ? {} : { parameters }),
  }
}

/** Writes what postprocess returned: tensors as the request asks, anything else as JSON. */
export function writeAnswer(envelope: unknown, request: InferRequest): Reply {
  if (!isInferAnswer(envelope)) return envelope instanceof Reply ? envelope : jsonReply(envelope)
  const { body, contentType, headerLength } = encodeAnswer(envelope, request)
  return new Reply(
    200,
    contentType,
    body,
    headerLength === undefined ? undefined : { [lengthHeader]: String(headerLength) },
  )
}
