/** Sends what the outbox holds about records this process answers for, until nothing is left. Its guard goes on after it. */
import { setTimeout as delay } from 'node:timers/promises'
import { ServiceError } from '../contracts/errors.ts'
import type { OutboxSender } from '../records/store.ts'

export interface SendLater {
  /** Nobody waits for it. */
  send(predictionId: string): void
  /** Waits a little for the external record service to know a new record, else throws `store_unavailable`. */
  untilKnown(predictionId: string): Promise<void>
  /** What is left is the guard's. */
  stop(): void
}

/** Tries before a caller that waits is refused. */
const tries = 4
const comeBackMs = 1_000
const longestPauseMs = 30_000

export function makeSendLater(outbox: OutboxSender): SendLater {
  const stopping = new AbortController()

  /** Nobody else sends it while this process lives: what goes wrong unforeseen ends nothing either. */
  async function sendAll(id: string): Promise<void> {
    let unforeseenMs = comeBackMs / 2
    while (!stopping.signal.aborted) {
      const left = await outbox.drain(id).catch(() => {
        unforeseenMs = Math.min(longestPauseMs, unforeseenMs * 2)
        return { waitMs: unforeseenMs, refused: false }
      })
      if (left === undefined || left.refused) return
      // Rejects when stopped.
      await delay(left.waitMs, undefined, { signal: stopping.signal, ref: false }).catch(() => undefined)
    }
  }

  return {
    send(id) {
      void sendAll(id)
    },
    async untilKnown(id) {
      for (let tried = 1; ; tried++) {
        const left = await outbox.drain(id)
        if (!left?.unknown) return
        if (left.refused || tried === tries) {
          throw new ServiceError('store_unavailable', 'the record service does not take the record', {
            retryAfterMs: comeBackMs,
          })
        }
        await delay(left.waitMs)
      }
    },
    stop: () => stopping.abort(),
  }
}
