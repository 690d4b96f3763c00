/** How the numbers of several models become one: weights and votes (specification, 6). Runs no model. */

import { ValueError } from './errors.ts'
import { isPlainObject } from './event.ts'

export type VoteType = 'regression' | 'classification'

/** A child's predictions with its weight. */
export interface Ballot {
  readonly weight: number
  readonly predictions: readonly number[]
}

// What adding up thirds and tenths may miss.
const tolerance = 1e-5

/** The weights to vote with, absent routes as 0; undefined without weights. Throws `bad ensemble weights: <reason>`. */
export function checkWeights(
  weights: Readonly<Record<string, number>> | undefined,
  routes: readonly string[],
  normalize: boolean,
): Record<string, number> | undefined {
  if (weights === undefined) return undefined
  const bad = (reason: string) => new ValueError(`bad ensemble weights: ${reason}`)
  let sum = 0
  for (const [route, weight] of Object.entries(weights)) {
    if (!routes.includes(route)) throw bad(`unknown route ${route}`)
    if (!Number.isFinite(weight) || weight < 0) throw bad(`${route} has weight ${weight}`)
    sum += weight
  }
  if (sum === 0) throw bad('their sum is 0')
  if (!normalize && sum < 1 - tolerance) throw bad(`their sum ${sum} is below 1`)
  const share = normalize ? sum : 1
  return Object.fromEntries(routes.map((route) => [route, (weights[route] ?? 0) / share]))
}

/** The numbers of a child's answer: `outputs`, or with `column` that member of `outputs`. */
export function predictionsOf(key: string, envelope: unknown, column: string | undefined): number[] {
  const outputs = isPlainObject(envelope) ? envelope.outputs : undefined
  const values = column === undefined ? outputs : isPlainObject(outputs) ? outputs[column] : undefined
  if (!Array.isArray(values) || !values.every((value) => typeof value === 'number')) {
    throw new ValueError(`the answer of model ${key} holds no list of numbers to vote with`)
  }
  return values
}

/** One value per sample. Throws `ValueError` when the lists differ in length. */
export function vote(ballots: readonly Ballot[], type: VoteType): number[] {
  const length = ballots[0]?.predictions.length ?? 0
  if (ballots.some(({ predictions }) => predictions.length !== length)) {
    throw new ValueError('the models of the ensemble answered lists of different lengths')
  }
  const decide = type === 'regression' ? weightedSum : heaviestClass
  return Array.from({ length }, (_, sample) => decide(ballots, sample))
}

/** `classification` when every value is integral. */
export function voteTypeOf(ballots: readonly Ballot[]): VoteType {
  return ballots.every(({ predictions }) => predictions.every(Number.isInteger))
    ? 'classification'
    : 'regression'
}

function weightedSum(ballots: readonly Ballot[], sample: number): number {
  return ballots.reduce((sum, { weight, predictions }) => sum + weight * predictions[sample]!, 0)
}

/** Values are cut to integers; of equally heavy classes the lowest wins. */
function heaviestClass(ballots: readonly Ballot[], sample: number): number {
  const sums = new Map<number, number>()
  for (const { weight, predictions } of ballots) {
    const label = Math.trunc(predictions[sample]!) + 0 // no negative zero
    sums.set(label, (sums.get(label) ?? 0) + weight)
  }
  const [first] = [...sums].sort(([a, x], [b, y]) => (Math.abs(y - x) > Number.EPSILON * 8 ? y - x : a - b))
  return first?.[0] ?? 0
}
