/** The Prometheus metrics of a process: names, labels and buckets. Refuses payloads and ids as labels. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { PlatformName } from './contracts/names.ts'
import type { TerminalStatus } from './contracts/statuses.ts'

/** Buckets of the predecessor, and further ones for calls that take minutes. Seconds. */
const secondsBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600]

/** One prediction that became terminal, as its record tells it. */
export interface Finished {
  modelName: string
  platform: PlatformName
  status: TerminalStatus
  /** Inherited text, `1.25s`; empty if unknown. */
  runningTime: string
  createdAt: string
  startedAt: string | null
  endedAt: string | null
  /** Of an async prediction; empty for direct calls. */
  queueId: string
}

/** One finished platform call. */
export interface PlatformCall {
  /** Of the prediction; for logs. */
  id: string
  model: string
  platform: PlatformName
  /** `ok` or an error code. */
  code: string
  runMs: number
  /** It is made again after this time. */
  retryInMs?: number
}

export interface QueueNumbers {
  waiting: number
  running: number
}

export interface Metrics {
  /** Meter of one route, made once at start. Seconds. */
  route(path: string): (status: number, seconds: number) => void
  finished(prediction: Finished): void
  /** One attempt: HTTP status of the platform, or the error code where there was none. */
  platformCall(model: string, platform: PlatformName, code: string): void
  /** From the cancel request to the platform having heard of it. */
  cancelHeard(platform: PlatformName, seconds: number): void
  delivery(outcome: string): void
  idempotentReplay(): void
  /** Where the queue gauges come from; read at scrape time. `undefined` while unknown: they are left out. */
  queueFrom(read: () => Promise<QueueNumbers | undefined>, maxQueueSize: number): void
  /** Prometheus text. */
  text(): Promise<string>
  readonly contentType: string
}

export function makeMetrics(): Metrics {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const registers = [registry]

  const requests = new Counter({
    name: 'http_requests_total',
    help: 'Requests by route',
    labelNames: ['path'],
    registers,
  })
  const responses = new Counter({
    name: 'response_status',
    help: 'Responses by route and status',
    labelNames: ['path', 'status'],
    registers,
  })
  const responseTime = new Histogram({
    name: 'http_response_time_seconds',
    help: 'Time until the response, by route',
    labelNames: ['path'],
    buckets: secondsBuckets,
    registers,
  })
  new Gauge({ name: 'num_tasks_set_to_failed', help: 'Kept for old dashboards; always 0', registers }).set(0)
  const asyncFailures = new Counter({
    name: 'async_predict_failure_total',
    help: 'Async predictions that failed',
    registers,
  })
  const asyncTime = new Gauge({
    name: 'async_predict_time',
    help: 'running_time of the last async prediction, in seconds',
    registers,
  })
  const labelNames = ['model', 'platform'] as const
  const predictions = new Counter({
    name: 'predictions_total',
    help: 'Terminal predictions by status',
    labelNames: [...labelNames, 'status'],
    registers,
  })
  const histogram = (name: string, help: string) =>
    new Histogram({ name, help, labelNames, buckets: secondsBuckets, registers })
  const queueTime = histogram('prediction_queue_seconds', 'From acceptance to the start')
  const runTime = histogram('prediction_run_seconds', 'From the start to the end')
  const totalTime = histogram('prediction_total_seconds', 'From acceptance to the end')
  const calls = new Counter({
    name: 'platform_calls_total',
    help: 'Platform calls by HTTP status or error code',
    labelNames: [...labelNames, 'code'],
    registers,
  })
  const cancelTime = new Histogram({
    name: 'cancel_seconds',
    help: 'From the cancel request until the platform has heard of it',
    labelNames: ['platform'],
    buckets: secondsBuckets,
    registers,
  })
  const deliveries = new Counter({
    name: 'webhook_deliveries_total',
    help: 'Attempts to deliver user webhooks by outcome',
    labelNames: ['outcome'],
    registers,
  })
  const replays = new Counter({
    name: 'idempotent_replays_total',
    help: 'Requests answered with the prediction of an earlier one',
    registers,
  })

  let readQueue = async () => {}

  return {
    contentType: registry.contentType,

    route(path) {
      const count = requests.labels(path)
      const time = responseTime.labels(path)
      const byStatus = new Map<number, ReturnType<typeof responses.labels>>()
      return function measure(status, seconds) {
        count.inc()
        time.observe(seconds)
        let counter = byStatus.get(status)
        if (counter === undefined) {
          counter = responses.labels(path, String(status))
          byStatus.set(status, counter)
        }
        counter.inc()
      }
    },

    finished({ modelName: model, platform, status, runningTime, createdAt, startedAt, endedAt, queueId }) {
      predictions.inc({ model, platform, status })
      const created = Date.parse(createdAt)
      const ended = endedAt === null ? undefined : Date.parse(endedAt)
      if (startedAt !== null) {
        const started = Date.parse(startedAt)
        queueTime.observe({ model, platform }, Math.max(0, started - created) / 1000)
        if (ended !== undefined) runTime.observe({ model, platform }, Math.max(0, ended - started) / 1000)
      }
      if (ended !== undefined) totalTime.observe({ model, platform }, Math.max(0, ended - created) / 1000)
      if (queueId === '') return
      if (status === 'failed') asyncFailures.inc()
      const seconds = Number.parseFloat(runningTime)
      if (Number.isFinite(seconds)) asyncTime.set(seconds)
    },

    platformCall(model, platform, code) {
      calls.inc({ model, platform, code })
    },

    cancelHeard(platform, seconds) {
      cancelTime.observe({ platform }, seconds)
    },

    delivery(outcome) {
      deliveries.inc({ outcome })
    },

    idempotentReplay() {
      replays.inc()
    },

    queueFrom(read, maxQueueSize) {
      const size = new Gauge({ name: 'task_queue_size', help: 'Waiting predictions', registers })
      const ratio = new Gauge({
        name: 'task_queue_size_ratio',
        help: 'Waiting predictions by MAX_QUEUE_SIZE',
        registers,
      })
      const running = new Gauge({ name: 'predictions_running', help: 'Running predictions', registers })
      readQueue = async () => {
        const now = await read()
        if (now === undefined) {
          for (const gauge of [size, ratio, running]) gauge.remove()
          return
        }
        size.set(now.waiting)
        ratio.set(now.waiting / maxQueueSize)
        running.set(now.running)
      }
    },

    async text() {
      await readQueue()
      return registry.metrics()
    },
  }
}
