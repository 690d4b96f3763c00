/** Serves any ONNX file whose inputs and outputs are tensors, through onnxruntime-node; `iris.onnx` unless told otherwise. */

import { fileURLToPath } from 'node:url'
import { InferenceSession, Tensor, type TensorType, type ValueMetadata } from 'onnxruntime-node'
import {
  createModelServer,
  type InferRequest,
  InvalidInput,
  type ReturnedTensor,
  V2ModelServer,
} from '../../modelserver/index.ts'

const datatypes = {
  float32: 'FP32',
  float64: 'FP64',
  int32: 'INT32',
  int64: 'INT64',
  uint8: 'UINT8',
  bool: 'BOOL',
  string: 'BYTES',
} as const satisfies Record<TensorType, string>

/** Speaks the Open Inference Protocol: names, datatypes and shapes are the file's own. */
export class OnnxModel extends V2ModelServer<InferRequest> {
  #session: InferenceSession | undefined

  override async load(): Promise<void> {
    const path = this.modelPath || fileURLToPath(new URL('iris.onnx', import.meta.url))
    this.#session = await InferenceSession.create(path)
    const { inputMetadata, outputMetadata } = this.#session
    this.modelSpec = { inputs: inputMetadata.map(toSpec), outputs: outputMetadata.map(toSpec) }
  }

  override async predict({ inputs }: InferRequest): Promise<ReturnedTensor[]> {
    const session = this.#loaded()
    const feeds: Record<string, Tensor> = {}
    for (const { name, type } of session.inputMetadata) {
      const given = inputs.find((tensor) => tensor.name === name)
      if (given?.datatype !== datatypes[type])
        throw new InvalidInput(`expected input ${name} of type ${datatypes[type]}`)
      feeds[name] = new Tensor(
        type,
        type === 'bool' ? Uint8Array.from(given.data, Number) : given.data,
        given.shape,
      )
    }
    const results = await session.run(feeds)
    return Object.entries(results).map(([name, { type, dims, data }]) => ({
      name,
      datatype: datatypes[type],
      shape: [...dims],
      data: Array.from(data),
    }))
  }

  override async unload(): Promise<void> {
    await this.#session?.release()
  }

  #loaded(): InferenceSession {
    if (!this.#session) throw new Error('the session is not open')
    return this.#session
  }
}

function toSpec({ name, type, shape }: ValueMetadata) {
  return {
    name,
    datatype: datatypes[type],
    shape: shape.map((size) => (typeof size === 'number' ? size : -1)),
  }
}

export const server = createModelServer({ protocol: 'oip' }).addModel('iris-onnx', {
  class: OnnxModel,
  batching: { maxSize: 32, maxDelayMs: 2, adaptive: true },
})
