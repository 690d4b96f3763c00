/** The iris classifier as a model of tensors, for the validation of an Open Inference server: rows in, probabilities out. */
import { readFile } from 'node:fs/promises'
import {
  type InferRequest,
  InvalidInput,
  type ReturnedTensor,
  V2ModelServer,
} from '../../modelserver/index.ts'
import { probabilities, type SoftmaxModel } from '../iris/softmax.ts'

/** Start it with `--protocol oip`. Input `rows`: FP64 of shape [n, 4]; output `probabilities`: FP64 of shape [n, 3]. */
export class IrisTensors extends V2ModelServer<InferRequest> {
  #softmax: SoftmaxModel | undefined

  override async load(): Promise<void> {
    this.#softmax = JSON.parse(await readFile(this.modelPath, 'utf8'))
  }

  override predict({ inputs: [rows] }: InferRequest): ReturnedTensor[] {
    const softmax = this.#softmax
    if (softmax === undefined) throw new Error('the model is not loaded')
    const [count = 0, width] = rows?.shape ?? []
    if (rows === undefined || width !== softmax.features.length)
      throw new InvalidInput('expected rows of shape [n, 4]')
    const cells = Array.from(rows.data, Number)
    const data = Array.from({ length: count }, (_, n) =>
      probabilities(softmax, cells.slice(n * width, (n + 1) * width)),
    )
    return [
      { name: 'probabilities', datatype: 'FP64', shape: [count, softmax.labels.length], data: data.flat() },
    ]
  }
}
