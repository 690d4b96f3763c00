/** Prints figures as a table for people and as JSON for programs. A missed figure is reported, never an error. */
import { writeFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg } from 'node:os'

export interface Row {
  name: string
  unit: string
  value: number
  /** What design section 10 asks for. */
  must?: string
  ok?: boolean
}

export function report(title: string, rows: readonly Row[], jsonFile: string | undefined): void {
  const width = Math.max(...rows.map(({ name }) => name.length))
  console.log(
    `\n${title} (${availableParallelism()} × ${cpus()[0]?.model ?? 'unknown'}, load ${loadavg()[0]?.toFixed(1)})\n`,
  )
  for (const { name, value, unit, must, ok } of rows) {
    const judged = must === undefined ? '' : `  must ${must}${ok === true ? '' : '  MISSED'}`
    console.log(`${name.padEnd(width)}  ${figure(value).padStart(10)} ${unit.padEnd(14)}${judged}`.trimEnd())
  }
  const json = JSON.stringify({ title, at: new Date().toISOString(), cores: availableParallelism(), rows })
  if (jsonFile === undefined) console.log(`\n${json}`)
  else writeFileSync(jsonFile, `${json}\n`)
}

function figure(value: number): string {
  if (Number.isInteger(value)) return String(value)
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2)
}
