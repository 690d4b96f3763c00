/** Wakes the flights that wait in a queue, page by page, after `/unpause`. Their own timers make it certain. */
import { condition, defineSignal, proxyActivities, setHandler } from '@temporalio/workflow'
import type { WakeActivities } from '../contracts/flights.ts'
import { wakeSignal } from '../contracts/names.ts'
import { untilDone } from './another-round.ts'

/** The workflow `wake-<queue>`; each `/unpause` starts it with a signal, or signals the one that runs. */
export async function wake(queue: string): Promise<void> {
  const { wakeWaiting } = proxyActivities<WakeActivities>({
    startToCloseTimeout: '10 minutes',
    heartbeatTimeout: '10s',
    retry: { initialInterval: '100ms', maximumInterval: '10s' },
  })
  let asked = false
  setHandler(defineSignal(wakeSignal), () => {
    asked = true
  })
  await condition(() => asked)
  while (asked) {
    asked = false
    // Asked again it begins anew: whom it has woken may have found the queue paused once more.
    for (let after: number | undefined = 0; after !== undefined && !asked; ) {
      const from: number = after
      after = (await untilDone(() => wakeWaiting(queue, from))).next
    }
  }
}
