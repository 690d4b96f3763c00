/** Which jobs a reaper may remove, by what they carry. Asks no platform. */
import type { IsOver } from './runner.ts'

/** `facts`: the labels or annotations `infra-validation/…` of a job. */
export async function isLeft(
  facts: Readonly<Record<string, string>>,
  now: Date,
  isOver?: IsOver,
): Promise<boolean> {
  // A date that cannot be read is no reason to delete.
  if (new Date(facts['infra-validation/expires-at'] ?? '') <= now) return true
  const workflowId = facts['infra-validation/workflow-id']
  return workflowId !== undefined && isOver !== undefined && (await isOver(workflowId))
}
