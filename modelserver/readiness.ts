/** Waits of requests for a model that is still loading (specification, 2.4). Loads nothing itself. */

import { setTimeout as delay } from 'node:timers/promises'
import { isHttp, type ModelEvent } from './event.ts'
import { ModelNotReady } from './faults.ts'
import type { ReadinessWait } from './settings.ts'

export interface Readable {
  readonly name: string
  readonly isReady: boolean
  /** Being unloaded: the queue turns the request away with a 503. */
  readonly isLeaving: boolean
  /** Why loading failed; empty while it has not. */
  readonly failure: string
  /** Settles when the loading under way ends; never rejects. */
  readonly loading: Promise<void>
}

/** Returns at once for a ready model; HTTP callers get the error at once; stream events wait. */
export function ensureReady(
  model: Readable,
  event: ModelEvent,
  wait: ReadinessWait,
): Promise<void> | undefined {
  if (model.isReady || model.isLeaving) return undefined
  if (isHttp(event.trigger)) throw new ModelNotReady(model.name)
  return waitUntilReady(model, event, wait)
}

async function waitUntilReady(
  model: Readable,
  event: ModelEvent,
  { intervalMs, attempts }: ReadinessWait,
): Promise<void> {
  const { signal } = event
  for (let attempt = 0; attempt < attempts && model.failure === ''; attempt++) {
    const pause = new AbortController()
    const rest = delay(intervalMs, undefined, { signal: AbortSignal.any([signal, pause.signal]) })
    // A finished load is looked at once; a model that loaded but says it is not ready is looked at each interval.
    const looks = attempt === 0 ? Promise.race([model.loading, rest]) : rest
    await looks.finally(() => pause.abort()).catch(() => signal.throwIfAborted())
    rest.catch(() => {})
    if (model.isReady) return
  }
  throw new ModelNotReady(model.name, model.failure)
}
