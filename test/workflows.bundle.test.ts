/** The workflow bundle is the wall between decisions and side effects: it holds neither activities nor zod. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { bundleName, workflowBundle } from '../worker/bundle.ts'

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'perdure-bundle-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** Names of the functions that activities/ hands out. */
function activityFunctions(): string[] {
  const folder = join(import.meta.dirname, '../activities')
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.ts'),
  )
  const exported = /^export (?:async )?function (\w+)/gm
  return files.flatMap((name) =>
    [...readFileSync(join(folder, name), 'utf8').matchAll(exported)].map((found) => found[1]!),
  )
}

test('the workflow bundle holds no activity code, no zod and no Node built-in', async () => {
  const { codePath } = await workflowBundle(temporaryFolder())
  const code = readFileSync(codePath, 'utf8')
  expect(code).toContain('async function flight(')
  // What hands trace context on, without what records it.
  expect(code).toContain('function workflowTrace(')
  expect(code).not.toContain('node_modules/@opentelemetry')
  const names = activityFunctions()
  expect(names).toContain('makeFlightActivities')
  expect(names.filter((name) => code.includes(`function ${name}(`))).toEqual([])
  expect(code).not.toContain('node_modules/zod')
  expect(code).not.toContain('node:sqlite')
})

test('a bundle that fits the code is built once', async () => {
  const folder = temporaryFolder()
  const first = await workflowBundle(folder)
  const builtAt = statSync(first.codePath).mtimeMs
  const second = await workflowBundle(folder)
  expect(second.codePath).toBe(first.codePath)
  expect(statSync(second.codePath).mtimeMs).toBe(builtAt)
})

test.each([
  'workflows/flight.ts',
  'workflows/validations/attempt.ts',
  'contracts/names.ts',
  'contracts/predictions/flights.ts',
])('a change in %s asks for another bundle', (path) => {
  const root = temporaryFolder()
  const write = (name: string, text: string) => {
    mkdirSync(dirname(join(root, name)), { recursive: true })
    writeFileSync(join(root, name), text)
  }
  for (const name of ['workflows/index.ts', 'contracts/errors.ts', path])
    write(name, 'export const one = 1\n')
  const before = bundleName(root)
  expect(bundleName(root)).toBe(before)
  write(path, 'export const one = 2\n')
  expect(bundleName(root)).not.toBe(before)
})
