/** The verdict rules of infra validation (specification 7.6) as pure functions. Owns what a failure means; does no I/O. */
import { codeOf, type ErrorCode } from './errors.ts'

/** Every class a validation can fail with; the spelling is the specification's. */
export const failureClasses = [
  'CONFIG_INVALID',
  'IMAGE_PULL_FAILED',
  'MODEL_CHANGED',
  'INTERNAL',
  'UNSCHEDULABLE',
  'PLATFORM_UNAVAILABLE',
  'JOB_ABORTED',
  'DEADLINE_EXCEEDED',
  'OOM_KILLED',
  'MODEL_LOAD_FAILED',
  'QUERY_FAILED',
  'GOLDEN_MISMATCH',
  'LATENCY_GATE',
  'MEMORY_GATE',
  'CANCELLED',
  'CLEANUP_FAILED',
] as const satisfies readonly ErrorCode[]
export type FailureClass = (typeof failureClasses)[number]

/** What a class weighs in the verdict: the model is at fault, or something else is. */
export type Weight = 'error' | 'failure' | 'abort' | 'warning'

export const weightOf = {
  CONFIG_INVALID: 'error',
  IMAGE_PULL_FAILED: 'error',
  MODEL_CHANGED: 'error',
  INTERNAL: 'error',
  UNSCHEDULABLE: 'error',
  PLATFORM_UNAVAILABLE: 'error',
  JOB_ABORTED: 'failure',
  DEADLINE_EXCEEDED: 'failure',
  OOM_KILLED: 'failure',
  MODEL_LOAD_FAILED: 'failure',
  QUERY_FAILED: 'failure',
  GOLDEN_MISMATCH: 'failure',
  LATENCY_GATE: 'failure',
  MEMORY_GATE: 'failure',
  CANCELLED: 'abort',
  CLEANUP_FAILED: 'warning',
} as const satisfies Record<FailureClass, Weight>

const newAttempt = {
  CONFIG_INVALID: false,
  IMAGE_PULL_FAILED: false,
  MODEL_CHANGED: false,
  INTERNAL: false,
  UNSCHEDULABLE: true,
  PLATFORM_UNAVAILABLE: true,
  JOB_ABORTED: true,
  DEADLINE_EXCEEDED: true,
  OOM_KILLED: false,
  MODEL_LOAD_FAILED: false,
  QUERY_FAILED: false,
  GOLDEN_MISMATCH: false,
  LATENCY_GATE: false,
  MEMORY_GATE: false,
  CANCELLED: false,
  CLEANUP_FAILED: false,
} satisfies Record<FailureClass, boolean>

/** Classes that `validationSpec.retryOn` may add: what a user may hold to be unsteady although we call it settled. */
export const retryOnClasses = [
  'OOM_KILLED',
  'MODEL_LOAD_FAILED',
  'QUERY_FAILED',
  'GOLDEN_MISMATCH',
  'LATENCY_GATE',
  'MEMORY_GATE',
] as const satisfies readonly FailureClass[]

const known: ReadonlySet<string> = new Set(failureClasses)

/**
 * The class of whatever an attempt threw. What carries no code of ours is an unclassified exception: it fails the
 * attempt and is repeated like `JOB_ABORTED`.
 */
export function failureClassOf(error: unknown): FailureClass {
  const code = codeOf(error)
  return isFailureClass(code) ? code : 'JOB_ABORTED'
}

function isFailureClass(code: string): code is FailureClass {
  return known.has(code)
}

/** Whether a failed attempt is followed by another one. `attempt` counts from 1. */
export function anotherAttempt(
  failure: FailureClass,
  attempt: number,
  numTries: number,
  retryOn: readonly FailureClass[] = [],
): boolean {
  return attempt < numTries && (newAttempt[failure] || retryOn.includes(failure))
}

/** Milliseconds between attempts: doubling from `firstMs` to `longestMs`, the upper half of it jittered. `random` 0..1. */
export function attemptDelayMs(attempt: number, firstMs: number, longestMs: number, random: number): number {
  const ceiling = Math.min(longestMs, firstMs * 2 ** (attempt - 1))
  return Math.round(ceiling * (0.5 + random / 2))
}

export const verdicts = ['BLESSED', 'NOT_BLESSED', 'ABORTED', 'ERROR'] as const
export type Verdict = (typeof verdicts)[number]

/** How one binary ended: a passing attempt, or the class of each attempt that failed. */
export interface BinaryOutcome {
  passed: boolean
  failures: readonly FailureClass[]
}

/**
 * The verdict, first match of the table in 7.6. `cancelled` means: before this was called. `error` is a failure
 * outside the attempts (an unreadable model, a changed one). No binary at all is an error, never a blessing (BUG-01).
 */
export function verdictOf(run: {
  cancelled: boolean
  error?: FailureClass | undefined
  binaries: readonly BinaryOutcome[]
}): Verdict {
  if (run.cancelled) return 'ABORTED'
  if (run.error !== undefined) return 'ERROR'
  const failed = run.binaries.filter((binary) => !binary.passed)
  if (failed.some((binary) => binary.failures.some((failure) => weightOf[failure] === 'failure'))) {
    return 'NOT_BLESSED'
  }
  return failed.length > 0 || run.binaries.length === 0 ? 'ERROR' : 'BLESSED'
}

/** Exit code of `perdure validate` (design, section 11). */
export function exitCodeOf(verdict: Verdict, error?: FailureClass): number {
  if (verdict === 'ERROR' && error === 'CONFIG_INVALID') return 2
  return { BLESSED: 0, NOT_BLESSED: 1, ERROR: 3, ABORTED: 4 }[verdict]
}
