/**
 * The ownership check beside whatever kills: asked for every 20 s meanwhile and once more at the end. What any check of a
 * deployment has found, those at the start of its workers too, is a fault.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { Client, Connection } from '@temporalio/client'
import { guardQueueOf, ownershipIdOf, workflowNames } from '../contracts/names.ts'
import type { OwnershipInput, OwnershipReport } from '../contracts/ownership.ts'

const everyMs = 20_000
/** Meanwhile; looks are a quarter of it apart. */
const minAgeMs = 60_000
/** At the end nothing is under way any more. */
const leastAgeMs = 1_000
const answeredWithinMs = 90_000

/** Until the returned function is called. Nobody waits for the answers: `foundOwnerless` reads them. */
export function keepAsking(address: () => string, taskQueue: string): () => void {
  async function ask(): Promise<void> {
    const connection = await Connection.connect({ address: address() })
    await startCheck(new Client({ connection }), taskQueue, minAgeMs).finally(() => connection.close())
  }
  // While Temporal is away it cannot be asked: then the next time.
  const timer = setInterval(() => void ask().catch(() => undefined), everyMs)
  return () => clearInterval(timer)
}

/**
 * One line for each workflow that some record had lost, as this check and all before it have found. It runs on a worker of
 * the deployment. Throws when none answers.
 */
export async function foundOwnerless(
  client: Client,
  taskQueue: string,
  lostByHand: ReadonlySet<string> = new Set(),
): Promise<string[]> {
  const last = await startCheck(client, taskQueue, leastAgeMs)
  const over = new AbortController()
  const late = delay(answeredWithinMs, undefined, { signal: over.signal }).then(() => {
    throw new Error('no worker has answered the ownership check')
  })
  late.catch(() => undefined)
  const reports = [await Promise.race([last.result(), late]).finally(() => over.abort())]
  const query = `WorkflowType = '${workflowNames.ownershipCheck}' AND TaskQueue = '${guardQueueOf(taskQueue)}' AND ExecutionStatus = 'Completed'`
  for await (const { workflowId, runId } of client.workflow.list({ query }))
    if (workflowId !== last.workflowId)
      reports.push(await client.workflow.getHandle(workflowId, runId).result())
  return reports
    .flatMap(({ ownerless }) => ownerless)
    .filter(({ id }) => !lostByHand.has(id))
    .map(
      ({ kind, id, closed, ageMs }) =>
        `${kind} ${id} (${closed ?? 'no run'}, ${Math.round(ageMs / 1_000)} s)`,
    )
}

function startCheck(client: Client, taskQueue: string, minAgeMs: number) {
  return client.workflow.start<(input: OwnershipInput) => Promise<OwnershipReport>>(
    workflowNames.ownershipCheck,
    {
      taskQueue: guardQueueOf(taskQueue),
      workflowId: `${ownershipIdOf(taskQueue)}-${randomUUID()}`,
      args: [{ found: 'command', minAgeMs }],
    },
  )
}
