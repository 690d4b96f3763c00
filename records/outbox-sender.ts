/**
 * Sends what the outbox holds: to the external record service, and to whoever delivers webhooks. Owns the order per
 * prediction and the time to the next try; keeps nothing of its own, so that any process can go on.
 */
import { randomUUID } from 'node:crypto'
import type { Mirror } from './mirror.ts'
import { type OutboxLeft, type OutboxRow, type OutboxSender, type Store, untilStored } from './store.ts'

export interface OutboxSenderOptions extends OutboxPauses {
  store: Pick<Store, 'outboxNext' | 'outboxLease' | 'outboxDone'>
  /** Absent: nothing is mirrored (any more). */
  mirror?: Mirror
  /** Starts the delivery with this id, or finds it started. Throws when it cannot. */
  startDelivery(id: string): Promise<void>
  /** Of a row that nobody will ever take. */
  warn(text: string): void
}

/** Between two tries of one row; the defaults suit a deployment. */
export interface OutboxPauses {
  firstPauseMs?: number
  longestPauseMs?: number
}

/** Beyond the longest send: for the store's answers before and after it. */
const leaseSpareMs = 5_000

/** What became of one row: sent, to be tried again, or given up. */
type Sent = 'done' | 'refused' | { retryInMs: number }

export function makeOutboxSender(options: OutboxSenderOptions): OutboxSender {
  const { store, mirror, warn, firstPauseMs = 500, longestPauseMs = 30_000 } = options
  const sender = randomUUID()
  const draining = new Map<string, Promise<OutboxLeft | undefined>>()

  async function drain(id: string): Promise<OutboxLeft | undefined> {
    let refused = false
    for (;;) {
      const rows = await untilStored(() => store.outboxNext([id]))
      if (rows.length === 0) return refused ? { waitMs: 0, unknown: true, refused } : undefined
      const outcomes = await Promise.all(rows.map((row) => sendAndForget(row, refused)))
      refused ||= rows.some((row, n) => isCreation(row) && outcomes[n] === 'refused')
      const waits = outcomes.flatMap((outcome) => (typeof outcome === 'object' ? [outcome.retryInMs] : []))
      // One kind that has to wait does not hold up the other.
      if (waits.length < rows.length) continue
      return { waitMs: Math.min(...waits), unknown: rows.some(isCreation), refused }
    }
  }

  async function sendAndForget(row: OutboxRow, refused: boolean): Promise<Sent> {
    const sent = await send(row, refused)
    if (typeof sent !== 'object') await untilStored(() => store.outboxDone(row.seq))
    return sent
  }

  async function send(row: OutboxRow, refused: boolean): Promise<Sent> {
    if (row.kind === 'webhook') {
      try {
        await options.startDelivery(JSON.parse(row.body) as string)
        return 'done'
      } catch {
        return { retryInMs: pauseOf(row) }
      }
    }
    if (mirror === undefined || refused) return 'done'
    // A change must not reach the service after a later one: while one process may still be sending it, nobody else does.
    const lease = (forMs: number) => untilStored(() => store.outboxLease(row.seq, sender, forMs))
    const leased = await lease(mirror.withinMs + leaseSpareMs)
    if (leased.outcome === 'gone') return 'done'
    if (leased.outcome === 'held') return { retryInMs: Math.min(leased.leftMs, pauseOf(row)) }
    const answer = await mirror.send(row.body)
    if (answer.outcome === 'taken') return 'done'
    if (answer.outcome === 'later') {
      await lease(0)
      return { retryInMs: Math.max(answer.retryAfterMs ?? 0, pauseOf(row)) }
    }
    warn(`the external record service refuses a change of ${row.predictionId} for good: ${answer.reason}`)
    return 'refused'
  }

  /** The longer a row has waited, the longer it waits again: doubling, without a count that a crash would lose. */
  function pauseOf(row: OutboxRow): number {
    return Math.min(longestPauseMs, Math.max(firstPauseMs, Date.now() - row.createdAt))
  }

  return {
    mirrors: mirror !== undefined,
    drain(id) {
      const before = draining.get(id) ?? Promise.resolve(undefined)
      const next = () => drain(id)
      const mine = before.then(next, next)
      draining.set(id, mine)
      return mine.finally(() => {
        if (draining.get(id) === mine) draining.delete(id)
      })
    },
  }
}

function isCreation(row: OutboxRow): boolean {
  return row.kind === 'mirror' && row.body.startsWith('{"call":"create"')
}
