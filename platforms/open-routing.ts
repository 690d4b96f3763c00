/** The routing table of a process: made of its settings at start, its models file read again on SIGHUP. */
import type { PlatformSettings } from './platform.ts'
import { makeRouting, type Routing, readModelsFile } from './routing.ts'

/** Structural twin of what config.ts reads. */
export interface RoutingSettings {
  platform: PlatformSettings
  platformExplicit: boolean
  platforms: Readonly<Record<string, PlatformSettings>>
  modelsFile: string | undefined
}

export interface RoutingLog {
  info(text: string): void
  error(details: object, text: string): void
}

/** Throws `invalid_input` that names every fault of the models file; later a bad file keeps the old table. */
export async function openRouting(settings: RoutingSettings, log: RoutingLog): Promise<Routing> {
  const { modelsFile } = settings
  const routing = await routingOf(settings)
  if (modelsFile !== undefined) process.on('SIGHUP', () => void reread(modelsFile, routing, log))
  return routing
}

/** The table as it is now; throws as `openRouting` does. */
export async function routingOf(settings: RoutingSettings): Promise<Routing> {
  const { platform, platformExplicit, platforms, modelsFile } = settings
  return makeRouting({
    fallback: platform,
    explicitFallback: platformExplicit,
    platforms: Object.values(platforms),
    ...(modelsFile !== undefined && { models: await readModelsFile(modelsFile) }),
  })
}

async function reread(modelsFile: string, routing: Routing, log: RoutingLog): Promise<void> {
  try {
    routing.update(await readModelsFile(modelsFile))
    log.info('models file read again')
  } catch (error) {
    log.error({ error }, 'models file kept as it was')
  }
}
