/**
 * What a test needs beyond npm and Temporal. A test whose need is missing is skipped with the reason in its name, or
 * fails with it when PERDURE_REQUIRE lists that need (names separated by commas, or `all`).
 */
import { describe, test } from 'vitest'

export const needs = [
  'docker',
  'compose',
  'python',
  'postgres',
  'temporal-server',
  'chromium',
  'kubernetes',
  'java',
  's3',
  'helm',
  'promtool',
] as const
export type Need = (typeof needs)[number]

export interface Requirement {
  available: boolean
  /** Why not; empty when available. */
  reason: string
  /** `describe` of a suite that has the need, with all its hooks; skipped or failing when it is missing. */
  describe: (name: string, define: () => void) => void
  /** `test` of a test that has the need. */
  test: (name: string, run: () => Promise<void> | void, timeoutMs?: number) => void
}

/**
 * @param available true, or false or a reason when it is missing. Asked once, while the file is collected.
 * @example
 * const docker = requirement('docker', dockerMissing)
 * docker.describe('the docker runner', () => { test('…', async () => {}) })
 */
export function requirement(name: Need, available: () => boolean | string): Requirement {
  const answer = available()
  if (answer === true) return { available: true, reason: '', describe, test }
  const reason = `needs ${name}: ${answer === false ? 'not available' : answer}`
  if (!required(name)) return skipped(reason)
  const refuse = () => {
    throw new Error(`${reason}, which PERDURE_REQUIRE demands`)
  }
  return {
    available: false,
    reason,
    describe: (title) => describe(title, () => test(reason, refuse)),
    test: (title) => test(title, refuse),
  }
}

/** Slow tests: they run with `.ci/run --full`, or wherever PERDURE_FULL is set. */
export const full: Requirement = process.env.PERDURE_FULL
  ? { available: true, reason: '', describe, test }
  : skipped('slow: runs with .ci/run --full')

/** Tests that cannot run here, for a reason that nothing demands to be mended. */
export function skipped(reason: string): Requirement {
  return {
    available: false,
    reason,
    describe: (title, define) => describe.skip(`${title} [${reason}]`, define),
    test: (title, run) => test.skip(`${title} [${reason}]`, run),
  }
}

/** Whether PERDURE_REQUIRE demands it. */
export function required(name: Need): boolean {
  const listed = (process.env.PERDURE_REQUIRE ?? '').split(',').map((word) => word.trim())
  const unknown = listed.filter(
    (word) => word !== '' && word !== 'all' && !needs.some((need) => need === word),
  )
  if (unknown.length > 0)
    throw new Error(`PERDURE_REQUIRE: unknown ${unknown.join(', ')}; known: ${needs.join(', ')}, all`)
  return listed.includes('all') || listed.includes(name)
}
