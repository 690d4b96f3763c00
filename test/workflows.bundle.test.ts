/** The workflow bundle is the wall between decisions and side effects: it holds neither activities nor zod. */
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { workflowBundle } from '../worker/bundle.ts'

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'perdure-bundle-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

test('the workflow bundle holds no activity code, no zod and no Node built-in', async () => {
  const { codePath } = await workflowBundle(temporaryFolder())
  const code = readFileSync(codePath, 'utf8')
  expect(code).toContain('async function flight(')
  // What hands trace context on, without what records it.
  expect(code).toContain('function workflowTrace(')
  expect(code).not.toContain('node_modules/@opentelemetry')
  expect(code).not.toContain('makeFlightActivities')
  expect(code).not.toContain('makeCallStep')
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
