/** What is counted of predictions, their platform calls and flights, by the process that did it. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import type { PlatformName } from '../contracts/names.ts'
import type { TerminalStatus } from '../contracts/statuses.ts'
import { secondsBuckets } from './buckets.ts'

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

/** Who asked for the end of a prediction that had not ended: a caller, `/delete_pending`, Temporal's interface. */
export type CancelSource = (typeof cancelSources)[number]

const cancelSources = ['caller', 'delete_pending', 'operator', 'deadline'] as const

export interface PredictionMetrics {
  finished(prediction: Finished): void
  platformCall(call: PlatformCall): void
  /** A provider's status word that this version does not know. */
  unknownWord(word: { model: string; platform: PlatformName }): void
  canceled(by: CancelSource, predictions: number): void
  /** From the cancel to the platform having heard of it. */
  cancelHeard(platform: PlatformName, seconds: number): void
  flightStarted(predictions: number): void
  idempotentReplay(): void
}

const flightSizes = [1, 2, 5, 10, 20, 50, 100, 200]

export function makePredictionMetrics(registers: Registry[]): PredictionMetrics {
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
    help: 'Platform calls by outcome: ok or an error code',
    labelNames: [...labelNames, 'code'],
    registers,
  })
  const callTime = histogram(
    'platform_call_seconds',
    'One platform call; of a job from its creation to its end',
  )
  const retries = new Counter({
    name: 'prediction_retries_total',
    help: 'Platform calls that failed and are made again, by error code',
    labelNames: [...labelNames, 'code'],
    registers,
  })
  const cancels = new Counter({
    name: 'predictions_canceled_total',
    help: 'Open predictions that were canceled, by who asked for it',
    labelNames: ['by'],
    registers,
  })
  const cancelTime = new Histogram({
    name: 'cancel_seconds',
    help: 'From the cancel until the platform has heard of it',
    labelNames: ['platform'],
    buckets: secondsBuckets,
    registers,
  })
  const flightSize = new Histogram({
    name: 'flight_predictions',
    help: 'Predictions of one flight, counted when it starts',
    buckets: flightSizes,
    registers,
  })
  const replays = new Counter({
    name: 'idempotent_replays_total',
    help: 'Requests answered with the prediction of an earlier one',
    registers,
  })

  // Shown from the start: a rate of nothing is 0, not absent.
  for (const by of cancelSources) cancels.inc({ by }, 0)

  return {
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
    platformCall({ model, platform, code, runMs, retryInMs }) {
      calls.inc({ model, platform, code })
      callTime.observe({ model, platform }, runMs / 1000)
      if (retryInMs !== undefined) retries.inc({ model, platform, code })
    },
    unknownWord: ({ model, platform }) => calls.inc({ model, platform, code: 'unknown_status' }),
    canceled: (by, count) => cancels.inc({ by }, count),
    cancelHeard: (platform, seconds) => cancelTime.observe({ platform }, seconds),
    flightStarted: (count) => flightSize.observe(count),
    idempotentReplay: () => replays.inc(),
  }
}
