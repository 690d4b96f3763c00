/** Metrics of a process: what workers and APIs report is counted, the SDK's updates become families, sources that are away are left out. */
import { describe, expect, test, vi } from 'vitest'
import { makeLogger } from '../logging.ts'
import { makeMetrics, type SdkUpdate, type StoreBacklog } from '../metrics.ts'
import type { StoredPrediction } from '../records/store.ts'
import { makeApiReports, makeWorkerReports } from '../reports.ts'

const soon = { timeout: 30_000, interval: 20 }

const id = '3fa85f64-5717-4562-b3fc-2c963f66afa6'
const where = { model: 'm', platform: 'v2' } as const

function reporting(record?: Partial<StoredPrediction>) {
  const lines: Record<string, unknown>[] = []
  const metrics = makeMetrics()
  const log = makeLogger(
    { development: false, logLevel: 'info' },
    { write: (line) => void lines.push(JSON.parse(line) as Record<string, unknown>) },
  )
  const store = { get: async () => record as StoredPrediction | undefined }
  return { metrics, lines, parts: { metrics, log, store } }
}

describe('reports', () => {
  test('a prediction that ended is counted, timed and one line with its ids', async () => {
    const { metrics, lines, parts } = reporting()
    makeWorkerReports(parts).onEnd({
      ...{ id, modelName: 'm', platform: 'v2', status: 'failed', code: 'platform_timeout' },
      ...{ runningTime: '', createdAtMs: 1_000, startedAtMs: 2_000, endedAtMs: 5_000 },
    })
    const text = await metrics.text()
    expect(text).toContain('predictions_total{model="m",platform="v2",status="failed"} 1')
    expect(text).toContain('prediction_queue_seconds_sum{model="m",platform="v2"} 1')
    expect(text).toContain('prediction_run_seconds_sum{model="m",platform="v2"} 3')
    expect(text).toContain('prediction_total_seconds_sum{model="m",platform="v2"} 4')
    expect(text).toContain('async_predict_failure_total 1')
    expect(lines).toEqual([
      expect.objectContaining({
        ...{ message: 'prediction ended', prediction: id, workflow: 'flight-3fa85f64-5717-4562' },
        ...{ status: 'failed', code: 'platform_timeout', ms: 3_000 },
      }),
    ])
  })

  test('a platform call is counted; one that is made again is also a retry and a line', async () => {
    const { metrics, lines, parts } = reporting()
    const { onCall } = makeApiReports(parts)
    onCall({ id, ...where, code: 'platform_busy', runMs: 500, retryInMs: 99.6 })
    onCall({ id, ...where, code: 'ok', runMs: 1_500 })
    const text = await metrics.text()
    expect(text).toContain('platform_calls_total{model="m",platform="v2",code="ok"} 1')
    expect(text).toContain('platform_call_seconds_sum{model="m",platform="v2"} 2')
    expect(text).toContain('prediction_retries_total{model="m",platform="v2",code="platform_busy"} 1')
    expect(lines).toEqual([expect.objectContaining({ prediction: id, code: 'platform_busy', retryMs: 100 })])
  })

  test('a cancel is counted when it is asked for and timed when the platform has heard of it', async () => {
    const endedAt = new Date(Date.now() - 2_000).toISOString()
    const record = { status: 'canceled', modelName: 'm', platform: 'v2', createdAt: endedAt } as const
    const { metrics, parts } = reporting({
      ...record,
      endedAt,
      startedAt: null,
      runningTime: '',
      queueId: '',
    })
    makeApiReports(parts).onCanceled(id)
    makeWorkerReports(parts).onCancelHeard({ id, platform: 'v2' })
    makeWorkerReports(parts).onOperatorCancel(3)
    makeWorkerReports(parts).onOverdue(2)
    await vi.waitFor(async () => {
      const text = await metrics.text()
      expect(text).toContain('predictions_canceled_total{by="caller"} 1')
      expect(text).toContain('predictions_canceled_total{by="operator"} 3')
      expect(text).toContain('predictions_canceled_total{by="deadline"} 2')
      expect(text).toContain('predictions_total{model="m",platform="v2",status="canceled"} 1')
      expect(Number(/cancel_seconds_sum\{platform="v2"\} (\S+)/.exec(text)?.[1])).toBeGreaterThanOrEqual(2)
    }, soon)
  })

  test('validations, webhooks, flights and replays are counted', async () => {
    const { metrics, lines, parts } = reporting()
    const worker = makeWorkerReports(parts)
    worker.onVerdict({ id: 'validation-1', verdict: 'BLESSED', createdAt: new Date().toISOString() })
    worker.onTry('succeeded', { delivery: 'msg_1', prediction: id })
    worker.onUnknownWord({ id, ...where, word: 'thinking' })
    const api = makeApiReports(parts)
    api.onFlight(7)
    api.onReplay()
    const text = await metrics.text()
    expect(text).toContain('validations_total{verdict="BLESSED"} 1')
    expect(text).toContain('validations_total{verdict="ERROR"} 0')
    expect(text).toContain('webhook_deliveries_total{outcome="succeeded"} 1')
    expect(text).toContain('platform_calls_total{model="m",platform="v2",code="unknown_status"} 1')
    expect(text).toContain('flight_predictions_sum 7')
    expect(text).toContain('idempotent_replays_total 1')
    expect(lines.map(({ message }) => message)).toEqual([
      'validation ended',
      'webhook',
      'the provider uses a status word unknown here; its job is polled on',
    ])
  })
})

describe('the SDK', () => {
  const update = (name: string, kind: string, value: number, attributes = {}): SdkUpdate => ({
    metric: { name, kind, description: `about ${name}` },
    value,
    attributes: { service_name: 'temporal-core-sdk', ...attributes },
  })

  test('its updates become counters, gauges and histograms with its labels', async () => {
    const metrics = makeMetrics()
    const waiting = [
      update('temporal_request', 'counter', 2, { operation: 'Poll' }),
      update('temporal_request', 'counter', 3, { operation: 'Poll' }),
      update('temporal_worker_task_slots_available', 'gauge', 9, { worker_type: 'ActivityWorker' }),
      update('temporal_worker_task_slots_available', 'gauge', 4, { worker_type: 'ActivityWorker' }),
      update('temporal_request_latency', 'histogram', 0.25, { operation: 'Poll', eager: false }),
      update('temporal_of_tomorrow', 'a kind that nobody knows', 1),
    ]
    metrics.sdkFrom(() => waiting.splice(0))
    const text = await metrics.text()
    expect(text).toContain('# HELP temporal_request about temporal_request')
    expect(text).toContain('temporal_request{operation="Poll"} 5')
    expect(text).toContain('temporal_worker_task_slots_available{worker_type="ActivityWorker"} 4')
    expect(text).toContain('temporal_request_latency_sum{operation="Poll",eager="false"} 0.25')
    expect(text).not.toContain('temporal_of_tomorrow')
    expect(text).not.toContain('service_name')
  })
})

describe('what is left to do', () => {
  const backlog: StoreBacklog = {
    ...{ waiting: 5, running: 2, overdue: 3, oldestWaitingAt: Date.now() - 60_000, providerJobs: 1 },
    ...{ providerCancelsDue: 1, outbox: 4, oldestOutboxAt: undefined, deliveriesWaiting: 3 },
    validationsOpen: 1,
  }

  test('is read when somebody scrapes, and left out while a source is away or late', async () => {
    const metrics = makeMetrics()
    const away = new Error('away')
    const store = vi.fn(async () => backlog)
    const temporal = vi.fn(async () => [
      { queue: 'q', kind: 'activity' as const, tasks: 6, ageSeconds: 2, pollers: 0 },
    ])
    metrics.backlogFrom({ store, maxQueueSize: 10, temporal })
    const first = await metrics.text()
    for (const line of [
      'task_queue_size 5',
      'task_queue_size_ratio 0.5',
      'records_overdue 3',
      'outbox_messages 4',
      'outbox_oldest_seconds 0',
      'task_queue_backlog{task_queue="q",kind="activity"} 6',
      'task_queue_pollers{task_queue="q",kind="activity"} 0',
    ])
      expect(first).toContain(`\n${line}\n`)
    expect(Number(/^prediction_oldest_waiting_seconds (\S+)$/m.exec(first)?.[1])).toBeGreaterThanOrEqual(60)

    store.mockRejectedValueOnce(away)
    temporal.mockImplementationOnce(() => new Promise(() => undefined))
    const second = await metrics.text()
    expect(second).not.toMatch(/^(task_queue_size|outbox_messages|task_queue_backlog)[ {]/m)
    expect(await metrics.text()).toContain('\ntask_queue_size 5\n')
  }, 30_000)
})
