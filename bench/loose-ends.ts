/**
 * What must not be left when all work has ended: records, messages and workflows that nobody will end, and workflows that
 * ended in no way that Perdure intends. Asked at the end of the chaos run and of every test that kills; reads, mends nothing.
 */
import type { Client } from '@temporalio/client'
import { guardIdOf, guardQueueOf, workflowNames } from '../contracts/names.ts'

export interface Scene {
  query<Row>(sql: string): Promise<Row[]>
  client: Client
  /** Of the deployment: others may live on the same namespace. */
  taskQueue: string
  /** API processes that run. */
  apis: number
  /** Ids of workflows that whoever asks has ended itself. */
  endedByHand?: ReadonlySet<string> | undefined
}

const terminal = `('succeeded', 'failed', 'canceled')`

/** Names with the rows that should not be, one text each. An open prediction may also be one that nobody has started. */
const leftovers: Record<string, string> = {
  'a prediction is open': `select id || ' ' || status as what from predictions where status not in ${terminal}`,
  'a holder is left': `select id || ' ' || holder as what from predictions where holder is not null`,
  'a message waits': `select prediction_id || ' ' || kind as what from outbox`,
  'a cancel is due': `select id as what from jobs where cancel_due = 1`,
  'a webhook waits': `select id as what from deliveries where status = 'waiting'`,
  'a validation is open': `select id || ' ' || status as what from validations where status <> 'ended'`,
}

const { flight, guard, delivery, retention } = workflowNames
/** No failure of an activity closes one of these. A validation may end in any way: it has a keeper. */
const lasting = [flight, guard, delivery, retention]

/** One line each, empty when nothing is left. Temporal's lists lag: ask again for a while. */
export async function looseEnds(scene: Scene): Promise<string[]> {
  const found: string[] = []
  for (const [name, sql] of Object.entries(leftovers))
    for (const { what } of await scene.query<{ what: string }>(sql)) found.push(`${name}: ${what}`)
  return [...found, ...(await workflowsLeft(scene)), ...(await closedWrongly(scene))]
}

/** Running guards are those of the running APIs, and nothing else runs but what lasts. */
async function workflowsLeft(scene: Scene): Promise<string[]> {
  const apis = await scene.query<{ id: string }>(
    `select id from processes where role = 'api' and state in ('open', 'closing')`,
  )
  const due = new Set(apis.map(({ id }) => guardIdOf(id)))
  const running = await listed(scene, `ExecutionStatus = 'Running' AND ${typeIn([flight, delivery, guard])}`)
  const guards = new Set(running.flatMap(({ type, id }) => (type === guard ? [id] : [])))
  const found = running.flatMap(({ type, id }) => (due.has(id) ? [] : [`a ${type} is open: ${id}`]))
  for (const id of due) if (!guards.has(id)) found.push(`an API has no guard: ${id}`)
  if (due.size !== scene.apis) found.push(`${scene.apis} APIs run, ${due.size} are open`)
  return found
}

async function closedWrongly(scene: Scene): Promise<string[]> {
  const wrongly = `ExecutionStatus IN ('Failed', 'TimedOut', 'Terminated')`
  const closed = await listed(scene, `${wrongly} AND ${typeIn(lasting)}`)
  return closed
    .filter(({ id }) => !scene.endedByHand?.has(id))
    .map(({ type, id, status }) => `a ${type} is closed as ${status}: ${id}`)
}

interface Listed {
  type: string
  id: string
  status: string
}

async function listed({ client, taskQueue }: Scene, where: string): Promise<Listed[]> {
  const query = `${where} AND TaskQueue IN ('${taskQueue}', '${guardQueueOf(taskQueue)}')`
  const found: Listed[] = []
  for await (const { type, workflowId, status } of client.workflow.list({ query }))
    found.push({ type, id: workflowId, status: status.name })
  return found
}

function typeIn(types: readonly string[]): string {
  return `WorkflowType IN (${types.map((type) => `'${type}'`).join(', ')})`
}
