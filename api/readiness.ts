/** Whether this process should get requests: asked of its peers in the background, never on a request. */
import { setTimeout as delay } from 'node:timers/promises'
import { codeOf, ServiceError } from '../contracts/errors.ts'
import { orQuiet, quiet } from './quiet.ts'
import type { HttpServer } from './server.ts'

export interface Readiness {
  /** The reason against it, or undefined. */
  now(): ServiceError | undefined
  /** False: what is accepted waits for Temporal. Requests are welcome all the same. */
  temporalAnswers(): boolean
  /** Not ready from now on, for good: the process is on its way out. */
  drain(): void
  /** Ends the checks. */
  stop(): void
}

export interface ReadinessChecks {
  /** Throws while something is missing without which nothing can be accepted; its error's code says what. */
  ready(): Promise<void>
  /** Throws while Temporal does not answer. */
  temporal(): Promise<void>
  onTemporal?: ((answers: boolean) => void) | undefined
}

export interface ReadinessOptions {
  everyMs?: number
  /** A check that takes longer has failed. */
  limitMs?: number
}

export function watchReadiness(checks: ReadinessChecks, options: ReadinessOptions = {}): Readiness {
  const { everyMs = 2_000, limitMs = 3_000 } = options
  const stopping = new AbortController()
  let draining = false
  let missing: ServiceError | undefined = new ServiceError('temporal_unavailable', 'not ready yet: starting')

  let temporalAnswers = true

  async function askTemporal(): Promise<void> {
    const failed = () => false
    const answer = await orQuiet(
      checks.temporal().then(() => true, failed),
      limitMs,
    )
    temporalAnswers = answer === true
    checks.onTemporal?.(temporalAnswers)
  }

  async function once(): Promise<void> {
    try {
      if ((await orQuiet(checks.ready(), limitMs)) === quiet)
        throw new ServiceError('store_unavailable', 'the check took too long')
      missing = undefined
    } catch (error) {
      const code = codeOf(error)
      missing =
        code === 'store_unavailable'
          ? new ServiceError(code, 'not ready: the store is unavailable')
          : new ServiceError(
              'temporal_unavailable',
              'not ready: this process has never been opened by its guard',
            )
    }
  }

  async function keepChecking(): Promise<void> {
    while (!stopping.signal.aborted) {
      await Promise.all([once(), askTemporal()])
      await delay(everyMs, undefined, { signal: stopping.signal, ref: false }).catch(() => undefined)
    }
  }
  void keepChecking()

  return {
    now: () => (draining ? new ServiceError('draining', 'the service is shutting down') : missing),
    temporalAnswers: () => temporalAnswers,
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
