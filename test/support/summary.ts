/**
 * Ends a test run with every skipped test and its reason, the files that took longest when there were many, and the
 * plain line `N passed, N failed, N skipped`.
 */
import type { Reporter, SerializedError, TestCase, TestModule, Vitest } from 'vitest/node'

export default class Summary implements Reporter {
  #filtered = false

  onInit(vitest: Vitest): void {
    this.#filtered = vitest.config.testNamePattern !== undefined
  }

  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()])
    const states = tests.map((test) => test.result().state)
    const passed = states.filter((state) => state === 'passed').length
    const skipped = tests.filter((test) => test.result().state === 'skipped')
    const failedTests = states.filter((state) => state === 'failed').length
    // A test that never got a result, a file that does not load, a hook that throws, a stray rejection.
    const unfinished = states.filter((state) => state === 'pending').length
    const failed =
      failedTests +
      unfinished +
      modules.reduce((sum, module) => sum + ownErrors(module), 0) +
      unhandled.length

    const lines = skipped.map((test) => `  ${test.module.relativeModuleId} > ${test.fullName}${reason(test)}`)
    // Under -t most tests are skipped because somebody asked for others.
    if (lines.length > 0 && !this.#filtered) console.log(['', 'Skipped:', ...lines].join('\n'))
    if (modules.length > manyFiles) console.log(['', 'Longest:', ...longest(modules)].join('\n'))
    console.log(`\n${passed} passed, ${failed} failed, ${skipped.length} skipped`)
  }
}

/** Where a run's time goes is asked of whole runs only. */
const manyFiles = 20
const shownFiles = 20

function longest(modules: readonly TestModule[]): string[] {
  return modules
    .map((module) => ({ name: module.relativeModuleId, ms: module.diagnostic().duration }))
    .toSorted((a, b) => b.ms - a.ms)
    .slice(0, shownFiles)
    .map(({ name, ms }) => `${(ms / 1_000).toFixed(0).padStart(6)} s  ${name}`)
}

/** Errors of the file itself and of its suites' hooks. */
function ownErrors(module: TestModule): number {
  const suites = [...module.children.allSuites()]
  return module.errors().length + suites.reduce((sum, suite) => sum + suite.errors().length, 0)
}

function reason(test: TestCase): string {
  const result = test.result()
  const note = result.state === 'skipped' ? result.note : undefined
  if (note) return ` [${note}]`
  if (brokenSuite(test)) return ' [a hook of its suite failed]'
  return test.fullName.includes('[') ? '' : ' [no reason given]'
}

function brokenSuite({ parent }: TestCase): boolean {
  for (let suite = parent; suite.type === 'suite'; suite = suite.parent)
    if (suite.errors().length > 0) return true
  return false
}
