/** The Prometheus metrics of a process, what they are made of, and their text. Refuses payloads and ids as labels. */
import { Counter, collectDefaultMetrics, Histogram, type MetricObject, Registry, Summary } from 'prom-client'
import { type BackgroundMetrics, makeBackgroundMetrics } from './metrics/background.ts'
import { type BacklogMetrics, makeBacklogMetrics } from './metrics/backlog.ts'
import { type HttpMetrics, makeHttpMetrics } from './metrics/http.ts'
import { makePredictionMetrics, type PredictionMetrics } from './metrics/predictions.ts'
import { makeSdkMetrics, type SdkUpdate } from './metrics/temporal-sdk.ts'

export type { QueueBacklog, StoreBacklog } from './metrics/backlog.ts'
export type { CancelSource, Finished, PlatformCall } from './metrics/predictions.ts'
export type { SdkUpdate } from './metrics/temporal-sdk.ts'

export interface MetricDescription {
  name: string
  type: 'counter' | 'gauge' | 'histogram' | 'summary'
  help: string
  labels: string[]
}

export interface Metrics
  extends HttpMetrics,
    PredictionMetrics,
    BackgroundMetrics,
    Pick<BacklogMetrics, 'backlogFrom'> {
  /** The Temporal SDK's own metrics are taken from there, regularly and before each scrape. */
  sdkFrom(retrieve: () => Iterable<SdkUpdate>): void
  /** Prometheus text. */
  text(): Promise<string>
  /** What there is, whether or not it has values yet. */
  described(): MetricDescription[]
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
    described: () => registry.getMetricsAsArray().map(describe),
    async text() {
      sdk.take()
      await refresh()
      return registry.metrics()
    },
  }
}

/** prom-client's own objects know their labels; its types do not say so. */
function describe(metric: MetricObject & { labelNames?: readonly string[] }): MetricDescription {
  const { name, help, labelNames = [] } = metric
  const type = kinds.find((kind) => metric instanceof kind.of)?.type ?? 'gauge'
  return { name, type, help, labels: [...labelNames] }
}

const kinds = [
  { of: Counter, type: 'counter' },
  { of: Histogram, type: 'histogram' },
  { of: Summary, type: 'summary' },
] as const
