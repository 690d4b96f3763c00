/** Softmax regression: class scores from a row, and the gradient descent that fits them. Knows no file and no server. */

/** Weights per class over standardised features; `weights[c]` has one number per feature. */
export interface SoftmaxModel {
  features: string[]
  labels: string[]
  mean: number[]
  deviation: number[]
  weights: number[][]
  bias: number[]
}

/** Probabilities in the order of `labels`; they sum to 1. */
export function probabilities(model: SoftmaxModel, row: readonly number[]): number[] {
  return softmax(model, standardise(model, row))
}

export interface Training {
  steps: number
  rate: number
  /** L2 penalty on the weights, not on the bias. */
  decay: number
}

/** Full-batch gradient descent from zero: the same rows always give the same model. */
export function fitSoftmax(
  rows: readonly (readonly number[])[],
  classes: readonly number[],
  names: { features: string[]; labels: string[] },
  { steps, rate, decay }: Training = { steps: 4000, rate: 0.5, decay: 0.001 },
): SoftmaxModel {
  const width = names.features.length
  const mean = column(width, (f) => average(rows.map((row) => row[f]!)))
  const deviation = column(
    width,
    (f) => Math.sqrt(average(rows.map((row) => (row[f]! - mean[f]!) ** 2))) || 1,
  )
  const weights = names.labels.map(() => new Array<number>(width).fill(0))
  const bias = names.labels.map(() => 0)
  const model = { ...names, mean, deviation, weights, bias }
  const scaled = rows.map((row) => standardise(model, row))
  for (let step = 0; step < steps; step++) {
    const slopes = names.labels.map(() => new Array<number>(width + 1).fill(0))
    for (const [i, row] of scaled.entries()) {
      for (const [c, p] of softmax(model, row).entries()) {
        const miss = p - (classes[i] === c ? 1 : 0)
        const slope = slopes[c]!
        for (let f = 0; f < width; f++) slope[f]! += miss * row[f]!
        slope[width]! += miss
      }
    }
    for (const [c, slope] of slopes.entries()) {
      const own = weights[c]!
      for (let f = 0; f < width; f++) own[f]! -= rate * (slope[f]! / rows.length + decay * own[f]!)
      bias[c]! -= (rate * slope[width]!) / rows.length
    }
  }
  return model
}

function softmax(model: Pick<SoftmaxModel, 'weights' | 'bias'>, row: readonly number[]): number[] {
  const scores = model.weights.map((own, c) => own.reduce((sum, w, f) => sum + w * row[f]!, model.bias[c]!))
  const highest = Math.max(...scores)
  const powers = scores.map((score) => Math.exp(score - highest))
  const total = powers.reduce((sum, power) => sum + power, 0)
  return powers.map((power) => power / total)
}

function standardise(model: Pick<SoftmaxModel, 'mean' | 'deviation'>, row: readonly number[]): number[] {
  return model.mean.map((mean, f) => (row[f]! - mean) / model.deviation[f]!)
}

function column(width: number, value: (feature: number) => number): number[] {
  return Array.from({ length: width }, (_, f) => value(f))
}

function average(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}
