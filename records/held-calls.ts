/** The calls that run in this process: aborts those whose record others have ended. Makes and ends no call itself. */
import { ServiceError } from '../contracts/errors.ts'
import type { HeldCalls, Store } from './store.ts'

interface Call {
  controller: AbortController
  ended: Promise<void>
}

/** One query per `pollMs` for all calls together. While the store is away nothing is aborted. */
export function makeHeldCalls(store: Pick<Store, 'terminalAmong'>, { pollMs = 250 } = {}): HeldCalls {
  const calls = new Map<string, Call>()
  let timer: NodeJS.Timeout | undefined
  let closed = false

  async function poll(): Promise<void> {
    try {
      for (const [id, status] of await store.terminalAmong([...calls.keys()])) {
        calls
          .get(id)
          ?.controller.abort(new ServiceError('prediction_canceled', `The prediction is already ${status}`))
      }
    } catch {
      // The next poll asks again.
    }
    timer = undefined
    pollLater()
  }

  function pollLater(): void {
    if (closed || calls.size === 0 || timer !== undefined) return
    timer = setTimeout(() => void poll(), pollMs)
  }

  return {
    hold(id) {
      const controller = new AbortController()
      const { promise: ended, resolve } = Promise.withResolvers<void>()
      const call = { controller, ended }
      calls.set(id, call)
      pollLater()
      return {
        signal: controller.signal,
        done() {
          if (calls.get(id) === call) calls.delete(id)
          resolve()
        },
      }
    },
    joined: (id) => calls.get(id)?.ended,
    ids: () => [...calls.keys()],
    close() {
      closed = true
      clearTimeout(timer)
    },
  }
}
