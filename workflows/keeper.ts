/**
 * Stays beside a validation and outlives it: of a workflow that an operator terminates no code runs any more, and then this
 * one stops its jobs and ends its record. Decides nothing about attempts.
 */
import { CancellationScope, ParentClosePolicy, sleep, startChild } from '@temporalio/workflow'
import { workflowNames } from '../contracts/names.ts'
import type { Estate, KeeperInput } from '../contracts/validations.ts'
import type { cleanup } from './cleanup.ts'
import { anywhere } from './validation-queues.ts'

const marginMs = 60_000

/**
 * The workflow `keeper-<validation>-<run>`. Temporal cancels it when its parent closes, in whatever way. Without a parent
 * (the ownership check starts it where both were terminated) it need not wait for that.
 */
export async function keeper({ id, runId, queue, closed }: KeeperInput): Promise<Estate['state']> {
  if (!closed) await CancellationScope.current().cancelRequested.catch(() => undefined)
  return CancellationScope.nonCancellable(async () => {
    const { estateOf, writeBlessing } = anywhere(queue)
    const estate = await estateOf.executeWithOptions({ summary: 'does it run, and what has it left?' }, [
      { id, runId },
    ])
    if (estate.state !== 'left') return estate.state
    await stopJobs(id, estate)
    const { verdict, error, binaries } = estate
    await writeBlessing.executeWithOptions({ summary: `write the verdict: ${verdict}` }, [
      { id, runId, verdict, binaries, ...(error && { error }) },
    ])
    return estate.state
  })
}

/** Waits as long as a stop may take; beyond that somebody goes on trying. */
async function stopJobs(
  id: string,
  { queue, stops, binaries }: Extract<Estate, { state: 'left' }>,
): Promise<void> {
  const stopping = stops.map(async (stop) => {
    const { binary, attempt } = stop.ref
    const child = await startChild<typeof cleanup>(workflowNames.cleanup, {
      workflowId: `${id}-cleanup-${binary}-${attempt}`,
      args: [{ queue, stop }],
      parentClosePolicy: ParentClosePolicy.ABANDON,
      workflowIdReusePolicy: 'ALLOW_DUPLICATE',
      staticSummary: `stops binary ${binary}, attempt ${attempt} of ${id}, which was closed from outside`,
    })
    const { gone } = await child.result()
    const outcome = binaries[binary]?.attempts.find(({ n }) => n === attempt)
    if (gone && outcome !== undefined) outcome.cleanup = { gone, attempts: 1 }
  })
  const longestMs = Math.max(0, ...stops.map(({ budgetMs }) => budgetMs)) + marginMs
  // A cleanup that the attempt itself has left goes on by itself.
  const stopped = Promise.allSettled(stopping)
  if (stops.length > 0) await Promise.race([stopped, sleep(longestMs)])
}
