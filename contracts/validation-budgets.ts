/** The time limits of a validation (specification 7.2): schema, defaults, sums. */
import { z } from 'zod'
import { retryOnClasses } from './validation-verdict.ts'

const seconds = z.number().positive()

/** Budgets (7.2). All in seconds; measured with a monotonic clock where they run. */
export const Budgets = z.strictObject({
  numTries: z.int().min(1).default(5),
  maxLoadingTimeSeconds: seconds.default(300),
  pullTimeoutSeconds: seconds.default(600),
  pollIntervalSeconds: seconds.default(1),
  readyStreak: z.int().min(1).default(2),
  requestTimeoutSeconds: seconds.default(30),
  queryBudgetSeconds: seconds.default(300),
  /** Default 10; 30 on Kubernetes. */
  stopGraceSeconds: z.number().nonnegative().optional(),
  stopBudgetSeconds: seconds.default(120),
  retryDelay: z
    .strictObject({ initialSeconds: seconds.default(1), maxSeconds: seconds.default(30) })
    .prefault({}),
  retryOn: z.array(z.enum(retryOnClasses)).default([]),
  blessingTtlSeconds: seconds.default(30 * 24 * 3600),
})
export type Budgets = z.infer<typeof Budgets>

/** Seconds between the polite and the hard stop: 10, on Kubernetes 30, unless set. */
export function stopGraceOf(platform: string, budgets: Pick<Budgets, 'stopGraceSeconds'>): number {
  return budgets.stopGraceSeconds ?? (platform === 'kubernetes' ? 30 : 10)
}

/** Upper bound of one attempt, everything included; a job's `expires-at` lies behind it. */
export function attemptBudgetSeconds(budgets: Budgets): number {
  return (
    budgets.pullTimeoutSeconds +
    budgets.maxLoadingTimeSeconds +
    budgets.queryBudgetSeconds +
    budgets.stopBudgetSeconds
  )
}
