/** How one platform call of a prediction went, whatever its lane. Owns the type and lane `call`; writes nothing. */
import { retryDelayMs } from '../contracts/retry.ts'
import type { CallPlatform, CallRequest } from '../platforms/platform.ts'

export type Outcome =
  | { kind: 'succeeded'; outputs: string; runningTime: string }
  /** `cancelJob`: the provider's job may run on and must be told. */
  | { kind: 'failed'; error: unknown; cancelJob: boolean }
  /** Another try is worth it, `waitMs` from now. */
  | { kind: 'retry'; error: unknown; waitMs: number }
  /** The provider says that its job was canceled by somebody else; `aborted`: by its deadline, before the start. */
  | { kind: 'canceled'; aborted: boolean }

/** One call on a platform that answers on the request. `failures` counts earlier transient ones. */
export async function callOnce(
  platform: CallPlatform,
  request: CallRequest,
  failures: number,
): Promise<Outcome> {
  const startedMs = performance.now()
  try {
    return { kind: 'succeeded', ...(await platform.call(request)) }
  } catch (error) {
    const waitMs = retryDelayMs(error, failures + 1, Math.random())
    const leftMs = request.remainingMs - (performance.now() - startedMs)
    return waitMs !== undefined && waitMs < leftMs
      ? { kind: 'retry', error, waitMs }
      : { kind: 'failed', error, cancelJob: false }
  }
}
