/** Waits until records are terminal: one shared poll, soon for new waiters, rarer for patient ones. Never throws. */
import type { TerminalStatus } from '../contracts/statuses.ts'
import type { Store, TerminalWaiter } from './store.ts'

interface Waiter {
  id: string
  since: number
  askAt: number
  settle(status: TerminalStatus | undefined): void
}

const tickMs = 20
const longestPauseMs = 500

export function makeTerminalWaiter(store: Pick<Store, 'terminalAmong'>): TerminalWaiter {
  const waiters = new Set<Waiter>()
  let timer: NodeJS.Timeout | undefined

  async function poll(): Promise<void> {
    const now = performance.now()
    const due = [...waiters].filter((waiter) => waiter.askAt <= now)
    // A tenth of the age: nobody waits more than 10 % longer than needed.
    for (const waiter of due) waiter.askAt = now + Math.min(longestPauseMs, (now - waiter.since) / 10)
    try {
      const ended = due.length === 0 ? new Map() : await store.terminalAmong(due.map((waiter) => waiter.id))
      for (const waiter of due) if (ended.has(waiter.id)) waiter.settle(ended.get(waiter.id))
    } catch {
      // The next poll asks again.
    }
    timer = undefined
    pollLater()
  }

  function pollLater(): void {
    if (waiters.size === 0 || timer !== undefined) return
    timer = setTimeout(() => void poll(), tickMs)
  }

  return {
    waitFor(id, timeoutMs, signal) {
      if (signal?.aborted) return Promise.resolve(undefined)
      return new Promise((resolve) => {
        const now = performance.now()
        const settle = (status: TerminalStatus | undefined) => {
          waiters.delete(waiter)
          clearTimeout(timeout)
          signal?.removeEventListener('abort', giveUp)
          resolve(status)
        }
        const giveUp = () => settle(undefined)
        const waiter: Waiter = { id, since: now, askAt: now, settle }
        const timeout = setTimeout(giveUp, timeoutMs)
        signal?.addEventListener('abort', giveUp, { once: true })
        waiters.add(waiter)
        pollLater()
      })
    },
    close() {
      clearTimeout(timer)
      for (const waiter of waiters) waiter.settle(undefined)
    },
  }
}
