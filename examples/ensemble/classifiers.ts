/** Three ways to name an iris, each by its own reasoning: nearest neighbours, naive Bayes, softmax regression. */

import { readFile } from 'node:fs/promises'
import { type ModelRequest, V2ModelServer, ValueError } from '../../modelserver/index.ts'
import { probabilities, type SoftmaxModel } from '../iris/softmax.ts'
import { type Flowers, readFlowers } from './flowers.ts'

/** `inputs`: rows of four measurements in centimetres. Outputs: class numbers, 0 setosa, 1 versicolor, 2 virginica. */
abstract class IrisClassifier extends V2ModelServer {
  abstract classify(row: readonly number[]): number

  override predict({ inputs = [] }: ModelRequest): number[] {
    return inputs.map((row) => {
      if (!Array.isArray(row) || row.length !== 4 || !row.every(Number.isFinite)) {
        throw new ValueError('each input is a list of four numbers')
      }
      return this.classify(row)
    })
  }
}

/** The most frequent class among the `k` (parameter, 5) known flowers that are closest. */
export class NeighboursModel extends IrisClassifier {
  #flowers: Flowers = { rows: [], classes: [], labels: [] }

  override async load(): Promise<void> {
    this.#flowers = await readFlowers()
  }

  override classify(row: readonly number[]): number {
    const { rows, classes, labels } = this.#flowers
    const nearest = rows
      .map((known, i) => ({
        distance: Math.hypot(...known.map((cell, f) => cell - (row[f] ?? 0))),
        class: classes[i],
      }))
      .sort((a, b) => a.distance - b.distance)
      .slice(0, this.getParam('k', 5))
    return largest(labels.map((_, c) => nearest.filter((known) => known.class === c).length))
  }
}

/** The class under which the measurements are most likely, each taken as normally distributed and independent. */
export class BayesModel extends IrisClassifier {
  /** Per class, per feature. */
  #distributions: Array<Array<{ mean: number; variance: number }>> = []

  override async load(): Promise<void> {
    const { rows, classes, labels } = await readFlowers()
    this.#distributions = labels.map((_, c) => {
      const own = rows.filter((_row, i) => classes[i] === c)
      return [0, 1, 2, 3].map((f) => {
        const cells = own.map((row) => row[f] ?? 0)
        const mean = cells.reduce((sum, cell) => sum + cell, 0) / cells.length
        return { mean, variance: cells.reduce((sum, cell) => sum + (cell - mean) ** 2, 0) / cells.length }
      })
    })
  }

  override classify(row: readonly number[]): number {
    return largest(
      this.#distributions.map((features) =>
        features.reduce(
          (sum, { mean, variance }, f) =>
            sum - Math.log(variance) / 2 - ((row[f] ?? 0) - mean) ** 2 / (2 * variance),
          0,
        ),
      ),
    )
  }
}

/** The trained model of ../iris. */
export class SoftmaxClassifier extends IrisClassifier {
  #model: SoftmaxModel | undefined

  override async load(): Promise<void> {
    this.#model = JSON.parse(await readFile(new URL('../iris/model.json', import.meta.url), 'utf8'))
  }

  override classify(row: readonly number[]): number {
    return this.#model ? largest(probabilities(this.#model, row)) : 0
  }
}

function largest(scores: readonly number[]): number {
  return scores.indexOf(Math.max(...scores))
}
