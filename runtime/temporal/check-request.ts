/** Asks for an ownership check and waits for its answer: the command `perdure ownership`, and the ends of tests. */
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { Client } from '@temporalio/client'
import { ServiceError } from '../../contracts/errors.ts'
import { guardQueueOf, ownershipIdOf, workflowNames } from '../../contracts/names.ts'
import { standardMinAgeMs } from '../../contracts/ownership.ts'
import type { ownershipCheck } from '../../workflows/ownership-check.ts'

const startWithinMs = 10_000
/** A worker that polls takes it at once. */
const takenWithinMs = 20_000
/** Started, and its first task scheduled: nobody has taken it. */
const untakenEvents = 2
/** Twenty looks, half a minute apart, and what they take. */
const answeredWithinMs = 900_000

/** Throws `temporal_unavailable` when nobody could look. */
export async function requestCheck(client: Client, taskQueue: string, minAgeMs = standardMinAgeMs) {
  const ask = () =>
    client.workflow.start<typeof ownershipCheck>(workflowNames.ownershipCheck, {
      taskQueue: guardQueueOf(taskQueue),
      workflowId: `${ownershipIdOf(taskQueue)}-${randomUUID()}`,
      args: [{ found: 'command', minAgeMs }],
      staticSummary: 'an operator asks whether every open record has a live workflow',
    })
  const handle = await client.withDeadline(Date.now() + startWithinMs, ask).catch((cause: unknown) => {
    throw unanswered('Temporal cannot be reached', cause)
  })
  const over = new AbortController()
  const wait = (ms: number) => delay(ms, undefined, { signal: over.signal })

  async function untaken(): Promise<never> {
    await wait(takenWithinMs)
    const { historyLength } = await handle.describe()
    if (historyLength <= untakenEvents) throw unanswered('no worker takes the check')
    await wait(answeredWithinMs)
    throw unanswered('the check could not look at everything in time')
  }

  try {
    const late = untaken()
    late.catch(() => undefined)
    return await Promise.race([handle.result(), late])
  } catch (error) {
    // Nobody waits for it any more.
    await handle.terminate('unanswered').catch(() => undefined)
    throw error instanceof ServiceError ? error : unanswered('the check was closed without an answer', error)
  } finally {
    over.abort()
  }
}

function unanswered(text: string, cause?: unknown): ServiceError {
  return new ServiceError('temporal_unavailable', text, { cause })
}
