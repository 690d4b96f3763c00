/** What a validation has left behind whose workflow is closed: an open record, attempts, and the way to their jobs. */
import type { ValidationRequest } from '../contracts/validation.ts'
import { stopGraceOf } from '../contracts/validation-budgets.ts'
import type { AttemptOutcome, Estate, StopInput, StoredPlan } from '../contracts/validations.ts'
import { type StoredAttempt, untilStored, type ValidationStore } from '../records/store.ts'

/** A late start may still be under way: for so long nothing of the job may be forgotten. */
const tombstoneMs = 300_000

/** How a workflow stands: the name of its status, undefined for none of that id. */
export type StatusOf = (workflowId: string) => Promise<string | undefined>

export async function estateOf(
  validations: ValidationStore,
  statusOf: StatusOf,
  { id, runId }: { id: string; runId: string },
): Promise<Estate> {
  const status = await statusOf(id)
  if (status === 'RUNNING') return { state: 'open' }
  const stored = await untilStored(() => validations.get(id))
  if (stored?.status === 'ended') return { state: 'ended' }
  const ended =
    status === 'TERMINATED' || status === 'CANCELLED'
      ? ({ state: 'left', verdict: 'ABORTED' } as const)
      : ({
          state: 'left',
          verdict: 'ERROR',
          error: { class: 'INTERNAL', message: `its workflow was closed from outside: ${status ?? 'gone'}` },
        } as const)
  // Whoever writes the verdict takes the id of a record that never came.
  if (stored === undefined) return { ...ended, queue: '', stops: [], binaries: [] }
  const spec: ValidationRequest = JSON.parse(stored.spec)
  const plan: Partial<StoredPlan> = stored.plan === null ? {} : JSON.parse(stored.plan)
  const attempts = await untilStored(() => validations.attempts(id))
  const { queue = '', host = '', modelDigest = '' } = plan
  const open = queue === '' ? [] : attempts.filter(({ cleanup }) => cleanup?.gone !== true)
  const shared = {
    modelDigest,
    host,
    expiresAt: new Date(Date.now() + tombstoneMs).toISOString(),
    graceSeconds: stopGraceOf(spec.servingSpec.platform.kind, spec.validationSpec),
    budgetMs: spec.validationSpec.stopBudgetSeconds * 1000,
  }
  return {
    ...ended,
    queue,
    stops: open.map(
      ({ binary, n }): StopInput => ({ ref: { workflowId: id, runId, binary, attempt: n }, ...shared }),
    ),
    binaries: (plan.binaries ?? []).map((_name, index) => ({
      attempts: attempts.filter(({ binary }) => binary === index).map(outcomeOf),
    })),
  }
}

function outcomeOf({ n, outcome, errorClass, message, cleanup }: StoredAttempt): AttemptOutcome {
  return {
    n,
    // Whoever has not come to collecting was interrupted.
    outcome: outcome ?? 'cancelled',
    ...(errorClass && outcome === 'failed' && { errorClass, message: message ?? '' }),
    cleanup: cleanup ?? { gone: false, attempts: 0, lastError: 'its workflow was closed from outside' },
  }
}
