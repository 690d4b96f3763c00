/** The platforms of one process by name, each with its own connection pool. Owns their making; refuses to pick one for a model. */
import { ServiceError } from '../contracts/errors.ts'
import type { PlatformName } from '../contracts/names.ts'
import { type HttpClientOptions, makeHttpClient } from './http.ts'
import { makeK8s } from './k8s.ts'
import { makeKserve } from './kserve.ts'
import type { Platform, PlatformSettings } from './platform.ts'
import { makeReplicate } from './replicate.ts'
import { makeRunpod } from './runpod.ts'
import { makeV2 } from './v2.ts'

export interface Platforms {
  /** Throws `platform_unsupported` for a platform without settings. */
  get(name: PlatformName): Platform
  /** Closes idle connections; running calls end first. */
  close(): Promise<void>
}

export function makePlatforms(
  settings: readonly PlatformSettings[],
  options: HttpClientOptions = {},
): Platforms {
  const platforms = new Map<PlatformName, Platform>()
  for (const each of settings) {
    platforms.set(each.platform, makePlatform(each, options))
  }
  return {
    get(name) {
      const platform = platforms.get(name)
      if (platform === undefined) {
        throw new ServiceError('platform_unsupported', `platform ${name} is not configured`, {
          legacyCode: 20006,
        })
      }
      return platform
    },
    async close() {
      await Promise.all(Array.from(platforms.values(), (platform) => platform.close()))
    },
  }
}

function makePlatform(settings: PlatformSettings, options: HttpClientOptions): Platform {
  switch (settings.platform) {
    case 'kserve':
      return makeKserve(makeHttpClient(options), settings)
    case 'k8s':
      return makeK8s(makeHttpClient(options))
    case 'v2':
      return makeV2(makeHttpClient(options))
    case 'replicate':
      return makeReplicate(makeHttpClient(options), settings)
    case 'runpod':
      return makeRunpod(makeHttpClient(options), settings)
  }
}
