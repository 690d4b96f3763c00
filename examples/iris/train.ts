/**
 * Trains the iris classifier and writes model.json: `node examples/iris/train.ts`. Deterministic.
 * Data: R. A. Fisher's iris measurements (1936), 150 flowers of three species, UCI Machine Learning Repository.
 */

import { readFile, writeFile } from 'node:fs/promises'
import { fitSoftmax, probabilities, type SoftmaxModel } from './softmax.ts'

/** Fits the model on `iris.csv` beside this file. `accuracy` is measured on every fifth row, kept out of training. */
export async function train(): Promise<{ model: SoftmaxModel; accuracy: number }> {
  const text = await readFile(new URL('iris.csv', import.meta.url), 'utf8')
  const [header = '', ...lines] = text.trim().split('\n')
  const features = header.split(',').slice(0, -1)
  const table = lines.map((line) => {
    const cells = line.split(',')
    return { row: cells.slice(0, -1).map(Number), label: cells.at(-1) ?? '' }
  })
  const labels = [...new Set(table.map(({ label }) => label))]
  const kept = table.filter((_, i) => i % 5 !== 0)
  const held = table.filter((_, i) => i % 5 === 0)
  const model = fitSoftmax(
    kept.map(({ row }) => row),
    kept.map(({ label }) => labels.indexOf(label)),
    { features, labels },
  )
  const right = held.filter(({ row, label }) => {
    const p = probabilities(model, row)
    return labels[p.indexOf(Math.max(...p))] === label
  })
  return { model, accuracy: right.length / held.length }
}

/** JSON with a list of numbers or names per line, as the house's formatter has it. */
function layout(model: SoftmaxModel): string {
  const inline = (list: readonly unknown[]) => `[${list.map((item) => JSON.stringify(item)).join(', ')}]`
  const members = Object.entries(model).map(([name, list]: [string, readonly unknown[]]) => {
    const nested = list.every(Array.isArray)
    const text = nested ? `[\n    ${list.map((row) => inline(row)).join(',\n    ')}\n  ]` : inline(list)
    return `  "${name}": ${text}`
  })
  return `{\n${members.join(',\n')}\n}\n`
}

if (import.meta.main) {
  const { model, accuracy } = await train()
  await writeFile(new URL('model.json', import.meta.url), layout(model))
  process.stdout.write(
    `model.json written; ${Math.round(accuracy * 1000) / 10} % of held-out flowers named right\n`,
  )
}
