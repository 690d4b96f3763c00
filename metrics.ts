/** The Prometheus metrics of a process, what they are made of, and their text. Refuses payloads and ids as labels. */
import { collectDefaultMetrics, Registry } from 'prom-client'
import { type BackgroundMetrics, makeBackgroundMetrics } from './metrics/background.ts'
import { type BacklogMetrics, makeBacklogMetrics } from './metrics/backlog.ts'
import { type HttpMetrics, makeHttpMetrics } from './metrics/http.ts'
import { makePredictionMetrics, type PredictionMetrics } from './metrics/predictions.ts'
import { makeSdkMetrics, type SdkUpdate } from './metrics/temporal-sdk.ts'

export type { QueueBacklog, StoreBacklog } from './metrics/backlog.ts'
export type { CancelSource, Finished, PlatformCall } from './metrics/predictions.ts'
export type { SdkUpdate } from './metrics/temporal-sdk.ts'

export interface Metrics
  extends HttpMetrics,
    PredictionMetrics,
    BackgroundMetrics,
    Pick<BacklogMetrics, 'backlogFrom'> {
  /** The Temporal SDK's own metrics are taken from there, regularly and before each scrape. */
  sdkFrom(retrieve: () => Iterable<SdkUpdate>): void
  /** Prometheus text. */
  text(): Promise<string>
  readonly contentType: string
}

export function makeMetrics(): Metrics {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  const { backlogFrom, refresh } = makeBacklogMetrics(registers)
  const sdk = makeSdkMetrics(registers)
  return {
    ...makeHttpMetrics(registers),
    ...makePredictionMetrics(registers),
    ...makeBackgroundMetrics(registers),
    backlogFrom,
    sdkFrom: sdk.from,
    contentType: registry.contentType,
    async text() {
      sdk.take()
      await refresh()
      return registry.metrics()
    },
  }
}
