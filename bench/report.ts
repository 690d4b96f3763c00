/** Prints figures as a table for people and as JSON for programs. A missed figure is reported, never an error. */
import { writeFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg } from 'node:os'

export interface Row {
  name: string
  unit: string
  value: number
  /** The worst of several, where `value` is their median. */
  worst?: number
  /** What design section 10 asks for. */
  must?: string
  ok?: boolean
}

/** What a bench has found. */
export interface Bench {
  rows: Row[]
  /** Promises that did not hold, one line each: unlike a missed figure, an error. */
  broken?: string[]
  /** Lines worth reading. */
  notes?: string[]
}

export function report(
  title: string,
  { rows, broken, notes = [] }: Bench,
  jsonFile: string | undefined,
): void {
  const width = Math.max(...rows.map(({ name }) => name.length))
  console.log(
    `\n${title} (${availableParallelism()} × ${cpus()[0]?.model ?? 'unknown'}, load ${loadavg()[0]?.toFixed(1)})\n`,
  )
  for (const { name, value, worst, unit, must, ok } of rows) {
    const judged = must === undefined ? '' : `  must ${must}${ok === true ? '' : '  MISSED'}`
    const figures = worst === undefined ? figure(value) : `${figure(value)} / ${figure(worst)}`
    console.log(`${name.padEnd(width)}  ${figures.padStart(14)} ${unit.padEnd(14)}${judged}`.trimEnd())
  }
  if (notes.length > 0) console.log(`\n${notes.join('\n')}`)
  const found = { rows, ...(broken !== undefined && { broken }) }
  const json = JSON.stringify({
    title,
    at: new Date().toISOString(),
    cores: availableParallelism(),
    ...found,
  })
  if (jsonFile === undefined) console.log(`\n${json}`)
  else writeFileSync(jsonFile, `${json}\n`)
  if (broken === undefined) return
  console.log(broken.length === 0 ? '\nevery promise held' : `\nBROKEN\n${broken.join('\n')}`)
}

function figure(value: number): string {
  if (Number.isInteger(value)) return String(value)
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2)
}
