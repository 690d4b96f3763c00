/** The iris measurements as rows and class numbers, read from the data set of ../iris. */

import { readFile } from 'node:fs/promises'

export interface Flowers {
  /** Sepal length, sepal width, petal length, petal width, in centimetres. */
  rows: number[][]
  /** Index into `labels`, one per row. */
  classes: number[]
  labels: string[]
}

export async function readFlowers(): Promise<Flowers> {
  const text = await readFile(new URL('../iris/iris.csv', import.meta.url), 'utf8')
  const table = text
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => line.split(','))
  const labels = [...new Set(table.map((cells) => cells.at(-1) ?? ''))]
  return {
    rows: table.map((cells) => cells.slice(0, -1).map(Number)),
    classes: table.map((cells) => labels.indexOf(cells.at(-1) ?? '')),
    labels,
  }
}
