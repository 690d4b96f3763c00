/** Folders for tests: gone when the test is over. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

/** Workflow bundles are the same for all tests: built once, kept. */
export const bundleFolder = join(tmpdir(), 'perdure-test-cache', 'bundles')

export function temporaryFolder(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `perdure-${name}-`))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}
