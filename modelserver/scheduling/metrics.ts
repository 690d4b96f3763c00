/** What a server counts and how Prometheus reads it (specification 7.6). One registry per server; measures nothing itself. */

import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { RejectReason } from './limits.ts'

/** Read when metrics are scraped, never on a request's path. */
export interface ModelSource {
  ready(): boolean
  condition(): { state: string; reason: string }
  overdue(): number
  inFlight(): number
  queueDepth(): number
  /** What `setMetric` wrote; finite numbers are shown. */
  metrics(): Record<string, unknown>
}

const secondsBuckets = [
  0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 300,
]
/** Characters; the repository index shows all. */
const longestReason = 200
const rowsBuckets = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]

export class ServerMetrics {
  readonly #registry = new Registry()
  /** Keyed by route key, so that a reload replaces the source and keeps the counts. */
  readonly #sources = new Map<string, { name: string; version: string; source: ModelSource }>()
  readonly #requests: Counter<'model' | 'version' | 'op' | 'protocol' | 'status'>
  readonly #rejected: Counter<'model' | 'reason'>
  readonly #pushFailures: Counter<'model'>
  readonly #preprocess: Histogram<'model_name'>
  readonly #predict: Histogram<'model_name'>
  readonly #postprocess: Histogram<'model_name'>
  readonly #explain: Histogram<'model_name'>
  readonly #batchRows: Histogram<'model_name'>

  constructor() {
    const registers = [this.#registry]
    const seconds = (name: string, help: string) =>
      new Histogram({ name, help, labelNames: ['model_name'], buckets: secondsBuckets, registers })
    this.#requests = new Counter({
      name: 'model_requests_total',
      help: 'Requests to a model by operation, protocol and HTTP status',
      labelNames: ['model', 'version', 'op', 'protocol', 'status'],
      registers,
    })
    this.#rejected = new Counter({
      name: 'model_rejected_total',
      help: 'Requests turned away by a queue, a time limit or a drain',
      labelNames: ['model', 'reason'],
      registers,
    })
    this.#pushFailures = new Counter({
      name: 'model_log_push_failures_total',
      help: 'Tracking records that their stream did not take',
      labelNames: ['model'],
      registers,
    })
    this.#preprocess = seconds('request_preprocess_seconds', 'Time in preprocess and validate')
    this.#predict = seconds('request_predict_seconds', 'Time in predict')
    this.#postprocess = seconds('request_postprocess_seconds', 'Time in postprocess')
    this.#explain = seconds('request_explain_seconds', 'Time in explain')
    this.#batchRows = new Histogram({
      name: 'model_batch_rows',
      help: 'Rows of the batches predict was called with',
      labelNames: ['model_name'],
      buckets: rowsBuckets,
      registers,
    })
    this.#gauge('model_ready', '1 when the model is ready', (source) => Number(source.ready()))
    this.#stateGauge()
    this.#gauge('model_overdue', 'Requests that got their 504 and still run', (source) => source.overdue())
    this.#gauge('model_in_flight', 'Requests being worked on', (source) => source.inFlight())
    this.#gauge('model_queue_depth', 'Requests that wait for a slot or a batch', (source) =>
      source.queueDepth(),
    )
    this.#modelMetricGauge()
  }

  /** Media type of `render()`: Prometheus text 0.0.4. */
  get contentType(): string {
    return this.#registry.contentType
  }

  render(): Promise<string> {
    return this.#registry.metrics()
  }

  /**
   * The model's own meters. Called again with the same name and version (reload), the source is replaced and the
   * counts go on.
   */
  model(name: string, version: string, source: ModelSource): ModelMetrics {
    const key = routeKey(name, version)
    this.#sources.set(key, { name, version, source })
    const time = { model_name: name }
    const preprocess = this.#preprocess.labels(time)
    const predict = this.#predict.labels(time)
    const postprocess = this.#postprocess.labels(time)
    const explain = this.#explain.labels(time)
    const batchRows = this.#batchRows.labels(time)
    const pushFailures = this.#pushFailures.labels({ model: name })
    return {
      request: (op, protocol, status) => this.request({ model: name, version, op, protocol, status }),
      rejected: (reason) => this.#rejected.inc({ model: name, reason }),
      logPushFailures: (count) => pushFailures.inc(count),
      preprocess: (value) => preprocess.observe(value),
      predict: (value) => predict.observe(value),
      postprocess: (value) => postprocess.observe(value),
      explain: (value) => explain.observe(value),
      batchRows: (rows) => batchRows.observe(rows),
      remove: () => {
        if (this.#sources.get(key)?.source === source) this.#sources.delete(key)
      },
    }
  }

  /** Counts one answered request. Pass `op` only from the closed list of operations: each value is a time series. */
  request(labels: { model: string; version: string; op: string; protocol: string; status: number }): void {
    this.#requests.inc(labels)
  }

  #gauge(name: string, help: string, read: (source: ModelSource) => number): void {
    const sources = this.#sources
    new Gauge({
      name,
      help,
      labelNames: ['model', 'version'],
      registers: [this.#registry],
      collect() {
        this.reset()
        for (const model of sources.values()) {
          this.set({ model: model.name, version: model.version }, read(model.source))
        }
      },
    })
  }

  // One series per model: a scrape shows the state and reason of now and forgets those before.
  #stateGauge(): void {
    const sources = this.#sources
    new Gauge({
      name: 'model_state',
      help: '1, with the state of the model and the reason if something is wrong',
      labelNames: ['model', 'version', 'state', 'reason'],
      registers: [this.#registry],
      collect() {
        this.reset()
        for (const { name, version, source } of sources.values()) {
          const { state, reason } = source.condition()
          this.set({ model: name, version, state, reason: reason.slice(0, longestReason) }, 1)
        }
      },
    })
  }

  // Values of two versions cannot be added up, so here, where no label tells them apart, `model` is the route key.
  #modelMetricGauge(): void {
    const sources = this.#sources
    new Gauge({
      name: 'model_metric',
      help: 'Finite numbers that the model wrote with setMetric',
      labelNames: ['model', 'name'],
      registers: [this.#registry],
      collect() {
        this.reset()
        for (const [model, { source }] of sources) {
          for (const [name, value] of Object.entries(source.metrics())) {
            if (typeof value === 'number' && Number.isFinite(value)) this.set({ model, name }, value)
          }
        }
      },
    })
  }
}

/** One model's meters. Times in seconds. */
export interface ModelMetrics {
  request(op: string, protocol: string, status: number): void
  rejected(reason: RejectReason): void
  logPushFailures(count: number): void
  preprocess(seconds: number): void
  predict(seconds: number): void
  postprocess(seconds: number): void
  explain(seconds: number): void
  batchRows(rows: number): void
  /** The model is gone for good: its gauges disappear, its counts stay. */
  remove(): void
}

function routeKey(name: string, version: string): string {
  return version === '' ? name : `${name}:${version}`
}
