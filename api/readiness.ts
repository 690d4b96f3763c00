/** Whether this process should get requests: asked of its peers in the background, never on a request. */
import { setTimeout as delay } from 'node:timers/promises'
import { codeOf, ServiceError } from '../contracts/errors.ts'
import { orQuiet, quiet } from './quiet.ts'
import type { HttpServer } from './server.ts'

export interface Readiness {
  /** The reason against it, or undefined. */
  now(): ServiceError | undefined
  /** Not ready from now on, for good: the process is on its way out. */
  drain(): void
  /** Ends the checks. */
  stop(): void
}

export interface ReadinessOptions {
  everyMs?: number
  /** A check that takes longer has failed. */
  limitMs?: number
}

/** `check` throws while something is missing; its error's code says what. */
export function watchReadiness(check: () => Promise<void>, options: ReadinessOptions = {}): Readiness {
  const { everyMs = 2_000, limitMs = 3_000 } = options
  const stopping = new AbortController()
  let draining = false
  let missing: ServiceError | undefined = new ServiceError('temporal_unavailable', 'not ready yet: starting')

  async function once(): Promise<void> {
    try {
      if ((await orQuiet(check(), limitMs)) === quiet)
        throw new ServiceError('temporal_unavailable', 'the check took too long')
      missing = undefined
    } catch (error) {
      const code = codeOf(error)
      missing =
        code === 'store_unavailable'
          ? new ServiceError(code, 'not ready: the store is unavailable')
          : new ServiceError('temporal_unavailable', 'not ready: Temporal is unavailable')
    }
  }

  async function keepChecking(): Promise<void> {
    while (!stopping.signal.aborted) {
      await once()
      await delay(everyMs, undefined, { signal: stopping.signal, ref: false }).catch(() => undefined)
    }
  }
  void keepChecking()

  return {
    now: () => (draining ? new ServiceError('draining', 'the service is shutting down') : missing),
    drain() {
      draining = true
    },
    stop: () => stopping.abort(),
  }
}

/**
 * The orderly end of the HTTP side: not ready at once, served for `delayMs` so that balancers notice, then the
 * listener closes and running requests end.
 */
export async function drainHttp(server: HttpServer, readiness: Readiness, delayMs: number): Promise<void> {
  readiness.drain()
  server.leave()
  await delay(delayMs)
  await server.close()
  readiness.stop()
}
