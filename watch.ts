/** What every process starts first and ends last for those who watch it: traces, and a listener of its own where one is set. */
import { serveHttp } from './api/server.ts'
import type { Address } from './config.ts'
import type { Logger } from './logging.ts'
import { makeProbes, type Watched } from './probes.ts'
import { startTracing, type TracingSettings } from './tracing/start.ts'

export interface WatchSettings {
  tracing: TracingSettings | undefined
  /** Where `/metrics`, `/live` and `/ready` are answered; absent = nowhere (the API has them on its own port). */
  metricsAddress?: Address | undefined
}

export interface Watch {
  /** Sends the last spans and closes the listener. */
  stop(): Promise<void>
}

/** `service` is the name in traces. Throws an `Error` of one line when the address cannot be had. */
export async function startWatch(
  { tracing, metricsAddress }: WatchSettings,
  { service, log, ...watched }: Watched & { service: string; log: Logger },
): Promise<Watch> {
  const server = metricsAddress && (await serveHttp(makeProbes(watched), metricsAddress))
  if (server !== undefined) log.info({ url: `${server.url}/metrics` }, 'metrics')
  const traces = await startTracing(tracing, service, (text) => log.warn(text))
  return {
    async stop() {
      await traces.stop()
      // A scrape that is under way is answered by nobody who matters any more.
      server?.closeNow()
      await server?.close()
    },
  }
}
