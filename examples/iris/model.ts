/** The sample model of `npm start`: names an iris from four measurements. Trained by train.ts on real flowers. */

import { readFile } from 'node:fs/promises'
import { type ModelRequest, V2ModelServer, ValueError } from '../../modelserver/index.ts'
import { probabilities, type SoftmaxModel } from './softmax.ts'

interface Answer {
  label: string
  probabilities: Record<string, number>
}

/** Served as `iris`. `inputs`: rows of sepal length, sepal width, petal length, petal width, in centimetres. */
export class IrisModel extends V2ModelServer {
  #softmax: SoftmaxModel | undefined

  override async load(): Promise<void> {
    const path = this.modelPath || new URL('model.json', import.meta.url)
    const softmax: SoftmaxModel = JSON.parse(await readFile(path, 'utf8'))
    this.#softmax = softmax
    this.modelSpec = {
      inputs: softmax.features.map((name) => ({ name, value_type: 'float' })),
      outputs: [{ name: 'label', value_type: 'str' }],
    }
  }

  override predict({ inputs = [] }: ModelRequest): Answer[] {
    return inputs.map((row, i) => this.#answer(row, i))
  }

  /** How far each class moves per centimetre of each feature, at the model's mean flower. */
  override explain(): Record<string, Record<string, number>> {
    const { labels, features, weights, deviation } = this.#loaded()
    return Object.fromEntries(
      labels.map((label, c) => [
        label,
        Object.fromEntries(features.map((feature, f) => [feature, weights[c]![f]! / deviation[f]!])),
      ]),
    )
  }

  #answer(row: unknown, index: number): Answer {
    const softmax = this.#loaded()
    if (!isRow(row, softmax.features.length)) {
      throw new ValueError(`inputs[${index}]: expected ${softmax.features.length} numbers`)
    }
    const p = probabilities(softmax, row)
    const best = p.indexOf(Math.max(...p))
    return {
      label: softmax.labels[best]!,
      probabilities: Object.fromEntries(softmax.labels.map((label, c) => [label, Number(p[c]!.toFixed(6))])),
    }
  }

  #loaded(): SoftmaxModel {
    if (this.#softmax === undefined) throw new ValueError('model.json is not loaded')
    return this.#softmax
  }
}

function isRow(row: unknown, width: number): row is number[] {
  return Array.isArray(row) && row.length === width && row.every((cell) => Number.isFinite(cell))
}
