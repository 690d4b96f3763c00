/**
 * The calls that run in this process, compared with the rows that it holds: aborts those whose record others have ended,
 * puts right what a crash of the database has lost. Makes and ends no call itself.
 */
import { ServiceError } from '../contracts/errors.ts'
import { isTerminal } from '../contracts/statuses.ts'
import type { HeldCalls, Store } from './store.ts'

interface Call {
  controller: AbortController
  ended: Promise<void>
  token?: number
}

export interface HeldCallsOptions {
  /** Between two looks at the rows of the calls. */
  pollMs?: number
  /** Between two looks at all rows that the process holds, and between any two while it makes no calls. */
  idleMs?: number
}

type Rows = Pick<Store, 'notHeld' | 'heldBy' | 'holdAgain' | 'letGo' | 'transition'>

/** Two queries for all calls together. While the store is away nothing is aborted. */
export function makeHeldCalls(
  store: Rows,
  processId: string,
  { pollMs = 250, idleMs = 4_000 }: HeldCallsOptions = {},
): HeldCalls {
  const calls = new Map<string, Call>()
  let timer: NodeJS.Timeout | undefined
  let isIdle = true
  let polling = false
  let comparedMs = performance.now()
  let closed = false

  async function poll(): Promise<void> {
    polling = true
    try {
      if (calls.size > 0) await checkCalls()
      if (performance.now() - comparedMs >= idleMs) {
        await giveUpUncalled()
        comparedMs = performance.now()
      }
    } catch {
      // The next poll asks again.
    }
    polling = false
    timer = undefined
    pollLater()
  }

  async function checkCalls(): Promise<void> {
    const rows = await store.notHeld([...calls.keys()])
    await Promise.all(
      Array.from(rows, async ([id, status]) => {
        const call = calls.get(id)
        if (isTerminal(status)) {
          const reason = new ServiceError('prediction_canceled', `The prediction is already ${status}`)
          call?.controller.abort(reason)
        } else if (call?.token !== undefined) await store.holdAgain(id, processId, call.token)
      }),
    )
  }

  async function giveUpUncalled(): Promise<void> {
    const held = await store.heldBy(processId)
    // Each call is registered before its row is written, so one that is not here now is not about to begin either.
    const uncalled = held.filter(({ id }) => !calls.has(id))
    await Promise.all(
      uncalled.map(({ id, token, isDirect }) =>
        isDirect ? store.transition(id, 'failed', interrupted, token) : store.letGo(id, processId, token),
      ),
    )
  }

  /** A look that is due soon is never put off: short calls follow one another. */
  function pollLater(): void {
    if (closed || polling || (timer !== undefined && (!isIdle || calls.size === 0))) return
    clearTimeout(timer)
    isIdle = calls.size === 0
    timer = setTimeout(() => void poll(), isIdle ? idleMs : pollMs)
    timer.unref()
  }

  pollLater()

  return {
    hold(id) {
      const controller = new AbortController()
      const { promise: ended, resolve } = Promise.withResolvers<void>()
      const call: Call = { controller, ended }
      calls.set(id, call)
      pollLater()
      return {
        signal: controller.signal,
        took(token) {
          call.token = token
        },
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

/** Of a direct call, which no flight goes on with. */
const interrupted = {
  errorCode: 'interrupted',
  errorInfo: 'status 20000: interrupted: the process that called the platform has lost the call',
}
