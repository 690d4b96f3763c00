/** The compensation of lane `job`: a prediction that is over while its job may run on is canceled at the provider. */

import type { PlatformName } from '../contracts/names.ts'
import type { JobHandle, ModelTarget, Platform } from '../platforms/platform.ts'
import { type Store, untilStored } from '../records/store.ts'

export interface ProviderCancelDeps {
  store: Store
  resolve(modelName: string, version?: string): ModelTarget
  platform(name: PlatformName): Platform
  onCancelHeard?(event: { id: string; platform: PlatformName }): void
}

const cancelLimitMs = 15_000

/** True when nothing is due (any more); false when the provider has not heard it yet: try again later. */
export async function cancelAtProvider(deps: ProviderCancelDeps, id: string): Promise<boolean> {
  const { store } = deps
  const [due] = await untilStored(() => store.cancelsDue([id]))
  if (due === undefined) return true
  // No answer to the creation was stored: nothing to name. The provider-side deadline bounds a job that exists.
  if (due.handle !== null && !(await cancel(deps, id, due.modelName, due.handle))) return false
  await untilStored(() => store.cancelHeard(id))
  return true
}

async function cancel(
  deps: ProviderCancelDeps,
  id: string,
  modelName: string,
  handle: string,
): Promise<boolean> {
  try {
    const target = deps.resolve(modelName)
    const platform = deps.platform(target.platform)
    if (platform.lane !== 'job') return true
    const job = JSON.parse(handle) as JobHandle
    const signal = AbortSignal.timeout(cancelLimitMs)
    await platform.cancelJob(job, { target, signal, remainingMs: cancelLimitMs })
    deps.onCancelHeard?.({ id, platform: target.platform })
    return true
  } catch {
    return false
  }
}
