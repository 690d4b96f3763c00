/** The two providers of jobs as twins, with the settings that send predictions there. What differs between them by name. */
import { onTestFinished } from 'vitest'
import type { TwinJob } from '../../dev/twins/job.ts'
import { startReplicateTwin } from '../../dev/twins/replicate.ts'
import { startRunpodTwin } from '../../dev/twins/runpod.ts'
import type { TwinServer } from '../../dev/twins/server.ts'
import type { PlatformSettings } from '../../platforms/platform.ts'

export interface Provider {
  name: 'replicate' | 'runpod'
  /** The twin's name for a creation, and for a poll. */
  create: string
  poll: string
  /** A twin that ends with the test. */
  start(): Promise<StartedProvider>
}

export interface StartedProvider {
  twin: TwinServer & { readonly jobs: readonly TwinJob[] }
  /** For `startInProcess`. */
  settings(address: string, timeoutMs: number): PlatformSettings
}

export const providerKey = 'r8_key_of_ours'
const apiKey = { reveal: () => providerKey }

export const providers: readonly Provider[] = [
  {
    name: 'replicate',
    create: 'create',
    poll: 'get',
    async start() {
      const twin = await startReplicateTwin({ apiKey: providerKey })
      onTestFinished(() => twin.close())
      const settings = { platform: 'replicate', address: twin.createUrl, modelId: 'v1', apiKey } as const
      return { twin, settings: (_, timeoutMs) => ({ ...settings, timeoutMs }) }
    },
  },
  {
    name: 'runpod',
    create: 'run',
    poll: 'status',
    async start() {
      const twin = await startRunpodTwin({ apiKey: providerKey })
      onTestFinished(() => twin.close())
      const settings = { platform: 'runpod', address: twin.baseUrl, modelId: 'e1', apiKey } as const
      return { twin, settings: (_, timeoutMs) => ({ ...settings, timeoutMs }) }
    },
  },
]
