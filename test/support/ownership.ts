/**
 * The ownership check at the end of a test, as an operator would ask for it. It runs on a worker of the deployment, so one
 * must be alive:
 *
 *     await expectOwned(await deployment.client(), 'perdure-<TASK_TYPE_NAME>')
 *
 * What the test itself has terminated, or taken back with an older state of Temporal, is named: `{ lost: ['flight-…'] }`.
 */
import type { Client } from '@temporalio/client'
import { expect, vi } from 'vitest'
import { guardQueueOf, workflowNames } from '../../contracts/names.ts'
import type { Ownerless, OwnershipReport } from '../../contracts/ownership.ts'
import { requestCheck } from '../../runtime/temporal/check-request.ts'

/** The least that the command takes: looks are a quarter of it apart. */
export const youngestMs = 1_000

/** No record is without a live workflow, and no check of this deployment has found one that the test has not lost itself. */
export async function expectOwned(
  client: Client,
  taskQueue: string,
  { minAgeMs = youngestMs, lost = [] }: { minAgeMs?: number; lost?: readonly string[] } = {},
): Promise<void> {
  const { ownerless } = await requestCheck(client, taskQueue, minAgeMs)
  const found = [...ownerless, ...(await foundEarlier(client, taskQueue))]
  expect(found.filter(({ id }) => !lost.includes(id))).toEqual([])
}

async function foundEarlier(client: Client, taskQueue: string): Promise<Ownerless[]> {
  const query = `WorkflowType = '${workflowNames.ownershipCheck}' AND TaskQueue = '${guardQueueOf(taskQueue)}' AND ExecutionStatus = 'Completed'`
  const found: Ownerless[] = []
  for await (const { workflowId, runId } of client.workflow.list({ query })) {
    const report: OwnershipReport = await client.workflow.getHandle(workflowId, runId).result()
    found.push(...report.ownerless)
  }
  return found
}

/** Terminates it as an operator does, and waits until Temporal's list has heard of it. */
export async function terminate(client: Client, workflowId: string): Promise<void> {
  await client.workflow.getHandle(workflowId).terminate('by an operator')
  const query = `WorkflowId = '${workflowId}' AND ExecutionStatus = 'Running'`
  await vi.waitFor(async () => expect((await client.workflow.count(query)).count).toBe(0), {
    timeout: 30_000,
    interval: 50,
  })
}
