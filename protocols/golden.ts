/** Compares an answer with what was expected of it, output by output (specification, 7.3). Pure. */
import { isDeepStrictEqual } from 'node:util'
import type { GoldenResult } from '../contracts/validation-record.ts'
import type { ExpectedOutput, Golden, GoldenRule } from '../contracts/validation-requests.ts'
import type { Output } from './probe.ts'
import { flatten, numberOf, shapeOf } from './tensor.ts'

type Expectations = Pick<Golden, 'outputs' | 'rules' | 'flatten' | 'nanEqual'>

interface Difference {
  pass: boolean
  maxAbsDiff: number | null
  maxRelDiff: number | null
  worst?: { index: number; expected: unknown; actual: unknown }
  message?: string
}

const shownCharacters = 4096

/** Outputs that are not expected are ignored; expected ones must be there. */
export function compareGolden(
  id: string,
  golden: Expectations,
  actual: Readonly<Record<string, Output>>,
): GoldenResult {
  const result: GoldenResult = { id, pass: true, maxAbsDiff: null, maxRelDiff: null }
  for (const [name, expected] of Object.entries(golden.outputs)) {
    const output = actual[name]
    const found: Difference =
      output === undefined
        ? failed(`is missing; the answer has ${Object.keys(actual).join(', ') || 'none'}`)
        : compareOutput(expected, output, golden.rules[name], golden)
    result.maxAbsDiff = larger(result.maxAbsDiff, found.maxAbsDiff)
    result.maxRelDiff = larger(result.maxRelDiff, found.maxRelDiff)
    // The first offending output is the one that is kept.
    if (found.pass || !result.pass) continue
    result.pass = false
    result.message = `output ${name} ${found.message}`
    if (found.worst !== undefined) result.worst = { output: name, ...found.worst }
    if (output !== undefined) result.output = JSON.stringify(output).slice(0, shownCharacters)
  }
  return result
}

function compareOutput(
  expected: ExpectedOutput,
  actual: Output,
  rule: GoldenRule | undefined,
  { flatten: flat, nanEqual }: Expectations,
): Difference {
  if (rule?.rule === 'ignore') return passed
  const [wanted, found] = [flatten(expected.data), flatten(actual.data)]
  if (!flat) {
    const mismatch = describeMismatch(expected, actual)
    if (mismatch !== undefined) return failed(mismatch)
  }
  if (rule?.rule === 'shapeOnly') return passed
  if (wanted.length !== found.length) {
    return failed(`has ${found.length} elements where ${wanted.length} were expected`)
  }
  if (rule?.rule === 'argmax') return compareArgmax(wanted, found, rowWidth(actual))
  return compareElements(wanted, found, rule ?? defaultRule(expected, wanted), nanEqual)
}

function describeMismatch(expected: ExpectedOutput, actual: Output): string | undefined {
  if (expected.datatype !== undefined && expected.datatype !== actual.datatype) {
    return `has datatype ${actual.datatype ?? 'none'} where ${expected.datatype} was expected`
  }
  const [wanted, found] = [shapeTold(expected), shapeTold(actual)]
  // Only one side with a told shape: its data may be flat although the shape is not.
  if (wanted.told !== found.told && !sameShape(wanted.shape, found.shape)) {
    return flatAgainst(wanted.shape, found.shape) ? undefined : shapeText(wanted.shape, found.shape)
  }
  return sameShape(wanted.shape, found.shape) ? undefined : shapeText(wanted.shape, found.shape)
}

function shapeTold({ data, shape }: { data: unknown; shape?: number[] | undefined }): {
  told: boolean
  shape: number[] | undefined
} {
  return shape === undefined ? { told: false, shape: shapeOf(data) } : { told: true, shape }
}

function sameShape(a: number[] | undefined, b: number[] | undefined): boolean {
  return a === undefined || b === undefined ? a === b : a.join() === b.join()
}

function flatAgainst(a: number[] | undefined, b: number[] | undefined): boolean {
  const size = (shape: number[]) => shape.reduce((product, one) => product * one, 1)
  if (a === undefined || b === undefined) return false
  return (a.length === 1 || b.length === 1) && size(a) === size(b)
}

function shapeText(wanted: number[] | undefined, found: number[] | undefined): string {
  const text = (shape: number[] | undefined) =>
    shape === undefined ? 'none (ragged)' : `[${shape.join(',')}]`
  return `has shape ${text(found)} where ${text(wanted)} was expected`
}

function compareElements(
  wanted: readonly unknown[],
  found: readonly unknown[],
  { rule, atol, rtol }: GoldenRule,
  nanEqual: boolean,
): Difference {
  const result: Difference = { pass: true, maxAbsDiff: null, maxRelDiff: null }
  let worstExcess = Number.NEGATIVE_INFINITY
  for (const [index, expected] of wanted.entries()) {
    const actual = found[index]
    const [e, a] = [numberOf(expected), numberOf(actual)]
    let pass: boolean
    let excess = Number.POSITIVE_INFINITY
    if (e !== undefined && a !== undefined) {
      const bothNaN = Number.isNaN(e) && Number.isNaN(a)
      const absolute = Object.is(e, a) || e === a ? 0 : Math.abs(a - e)
      if (Number.isFinite(absolute)) {
        result.maxAbsDiff = larger(result.maxAbsDiff, absolute)
        const relative = absolute === 0 ? 0 : absolute / Math.abs(e)
        if (Number.isFinite(relative)) result.maxRelDiff = larger(result.maxRelDiff, relative)
      }
      const allowed = rule === 'close' ? atol + rtol * Math.abs(e) : 0
      pass = bothNaN ? nanEqual : e === a || (Number.isFinite(e) && absolute <= allowed)
      if (Number.isFinite(absolute)) excess = absolute - (Number.isFinite(allowed) ? allowed : 0)
    } else pass = isDeepStrictEqual(expected, actual)
    if (pass) continue
    result.pass = false
    if (excess > worstExcess || result.worst === undefined) {
      worstExcess = excess
      result.worst = { index, expected, actual }
    }
  }
  if (result.worst !== undefined) {
    const { index, expected, actual } = result.worst
    result.message = `differs at element ${index}: ${JSON.stringify(actual)} where ${JSON.stringify(expected)} was expected (${rule})`
  }
  return result
}

/** Along the last axis, as classifiers answer: one row per instance. Flat data is one row. */
function compareArgmax(wanted: readonly unknown[], found: readonly unknown[], width: number): Difference {
  for (let from = 0; from < wanted.length; from += width) {
    const [expected, actual] = [
      argmax(wanted.slice(from, from + width)),
      argmax(found.slice(from, from + width)),
    ]
    if (expected === undefined || actual === undefined) {
      return failed('is not numeric, argmax says nothing about it')
    }
    if (expected === actual) continue
    const row = from / width
    return {
      ...failed(`has its largest element at ${actual} of row ${row} where ${expected} was expected`),
      worst: { index: from + actual, expected, actual },
    }
  }
  return passed
}

function rowWidth({ data, shape = shapeOf(data) }: Output): number {
  return shape?.at(-1) || Math.max(1, flatten(data).length)
}

function argmax(values: readonly unknown[]): number | undefined {
  let best = 0
  for (const [index, value] of values.entries()) {
    const number = numberOf(value)
    if (number === undefined) return undefined
    if (number > (numberOf(values[best]) ?? Number.NaN)) best = index
  }
  return values.length === 0 ? undefined : best
}

/** Floats are compared closely, everything else exactly (specification, 7.3). */
function defaultRule(expected: ExpectedOutput, wanted: readonly unknown[]): GoldenRule {
  const float =
    expected.datatype === undefined
      ? wanted.some((value) => numberOf(value) !== undefined && !Number.isInteger(numberOf(value)))
      : /^(FP|BF)\d+$/.test(expected.datatype)
  return { rule: float ? 'close' : 'exact', atol: 1e-6, rtol: 1e-5 }
}

const passed: Difference = { pass: true, maxAbsDiff: null, maxRelDiff: null }

function failed(message: string): Difference {
  return { pass: false, maxAbsDiff: null, maxRelDiff: null, message }
}

function larger(a: number | null, b: number | null): number | null {
  return a === null || b === null ? (a ?? b) : Math.max(a, b)
}
