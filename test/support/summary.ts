/** Ends a test run with every skipped test and its reason, and the plain line `N passed, N failed, N skipped`. */
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
    console.log(`\n${passed} passed, ${failed} failed, ${skipped.length} skipped`)
  }
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
