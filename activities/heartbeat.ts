/** Heartbeats for as long as something runs. The SDK throttles them to what the heartbeat timeout needs. */
import { Context } from '@temporalio/activity'

const intervalMs = 500

export async function heartbeating<T>(work: () => Promise<T>): Promise<T> {
  const context = Context.current()
  const timer = setInterval(() => context.heartbeat(), intervalMs)
  try {
    return await work()
  } finally {
    clearInterval(timer)
  }
}
