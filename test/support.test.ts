/** What the support code of the tests promises: leaks fail the test that made them, skips are shown with a reason. */
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'

const Report = z.object({
  testResults: z.array(
    z.object({
      assertionResults: z.array(
        z.object({ fullName: z.string(), status: z.string(), failureMessages: z.array(z.string()) }),
      ),
    }),
  ),
})

const folder = mkdtempSync(join(tmpdir(), 'perdure-suite-'))
let output = ''
let tests: z.infer<typeof Report>['testResults'][number]['assertionResults'] = []

beforeAll(async () => {
  const root = join(import.meta.dirname, '..')
  const json = join(folder, 'report.json')
  const args = [
    join(root, 'node_modules/vitest/vitest.mjs'),
    'run',
    '--config',
    join(root, 'test/support/fixtures/suite.config.ts'),
  ]
  const env = {
    ...process.env,
    PERDURE_REQUIRE: 'java, chromium',
    PERDURE_LEAKS_GONE_WITHIN_MS: '3000',
    NO_COLOR: '1',
  }
  output = await new Promise<string>((done) => {
    execFile(process.execPath, [...args, '--outputFile.json', json], { env, timeout: 100_000 }, (_, stdout) =>
      done(stdout),
    )
  })
  tests = Report.parse(JSON.parse(readFileSync(json, 'utf8'))).testResults.flatMap(
    (file) => file.assertionResults,
  )
}, 120_000)

afterAll(() => rmSync(folder, { recursive: true, force: true }))

test('a test that stops what it started passes, also after others left something behind', () => {
  const clean = tests.filter(({ fullName }) => fullName.includes('clean: '))
  expect(clean.map(({ status }) => status)).toEqual(Array(5).fill('passed'))
})

test('a test that leaves a process or a port behind fails and names it', () => {
  const leaks = tests.filter(({ fullName }) => fullName.includes('leak: '))
  expect(leaks.map(({ status }) => status)).toEqual(Array(4).fill('failed'))
  const messages = leaks.map(({ failureMessages }) => failureMessages.join())
  expect(messages.slice(0, 3)).toEqual(
    Array(3).fill(expect.stringMatching(/left behind: process \d+ \(.*setInterval/)),
  )
  expect(messages[3]).toMatch(/left behind: port \d+/)
})

test('a missing need skips with its reason, unless it is required', () => {
  const missing = tests.filter(({ fullName }) => fullName.includes('[needs '))
  expect(missing.map(({ fullName, status }) => [fullName, status])).toEqual([
    ['skip: without docker [needs docker: no engine answers]', 'skipped'],
    ['postgres [needs postgres: no server found] skip: without postgres', 'skipped'],
  ])
  expect(tests.find(({ fullName }) => fullName.includes('never reached'))).toBeUndefined()
  const required = tests.find(({ fullName }) => fullName === 'chromium needs chromium: not available')
  expect(required?.status).toBe('failed')
})

test('the output ends with the skipped tests, their reasons and the plain totals', () => {
  const lines = output
    .trimEnd()
    .split('\n')
    .filter((line) => !line.startsWith('JSON report'))
  expect(lines.slice(-6)).toEqual([
    'Skipped:',
    '  suite.fixture.ts > skip: of its own accord [says why itself]',
    '  suite.fixture.ts > skip: without docker [needs docker: no engine answers]',
    '  suite.fixture.ts > postgres [needs postgres: no server found] > skip: without postgres',
    '',
    '5 passed, 5 failed, 3 skipped',
  ])
})
