/**
 * The Temporal SDK's own metrics in the registry of the process, so that it has one `/metrics` and no second port.
 * Names are the SDK's, times are seconds. Knows its updates by their form only, so that whoever runs no worker loads none.
 */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client'

/** One update, as the SDK's buffer hands it out. */
export interface SdkUpdate {
  metric: { name: string; kind: string; unit?: string; description?: string }
  value: number
  attributes: Readonly<Record<string, string | number | boolean>>
}

const takeEveryMs = 1_000
/** From a request that is answered at once to a workflow that lives for hours. */
const buckets = [0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200]

type Family = { add(value: number, labels: Record<string, string>): void } | undefined

export function makeSdkMetrics(registers: Registry[]) {
  const families = new Map<string, Family>()
  let retrieve: (() => Iterable<SdkUpdate>) | undefined

  function familyOf({ name, kind, description: help = name }: SdkUpdate['metric']): Family {
    switch (kind) {
      case 'counter': {
        const counter = new Counter({ name, help, labelNames, registers })
        return { add: (value, labels) => counter.inc(labels, value) }
      }
      case 'gauge': {
        const gauge = new Gauge({ name, help, labelNames, registers })
        return { add: (value, labels) => gauge.set(labels, value) }
      }
      case 'up-down-counter': {
        const gauge = new Gauge({ name, help, labelNames, registers })
        return { add: (value, labels) => gauge.inc(labels, value) }
      }
      case 'histogram': {
        const histogram = new Histogram({ name, help, labelNames, buckets, registers })
        return { add: (value, labels) => histogram.observe(labels, value) }
      }
      default:
        return undefined
    }
  }

  function take(): void {
    for (const { metric, value, attributes } of retrieve?.() ?? []) {
      if (!families.has(metric.name)) families.set(metric.name, familyOf(metric))
      families.get(metric.name)?.add(value, labelsOf(attributes))
    }
  }

  return {
    take,
    from(source: () => Iterable<SdkUpdate>): void {
      retrieve = source
      setInterval(take, takeEveryMs).unref()
    },
  }
}

/** Labels of the SDK that tell something here; others, such as the name of the SDK itself, are left out. */
const labelNames = [
  'namespace',
  'task_queue',
  'operation',
  'worker_type',
  'poller_type',
  'workflow_type',
  'activity_type',
  'status_code',
  'failure_reason',
  'eager',
]

function labelsOf(attributes: SdkUpdate['attributes']): Record<string, string> {
  const labels: Record<string, string> = {}
  for (const name of labelNames) {
    const value = attributes[name]
    if (value !== undefined) labels[name] = String(value)
  }
  return labels
}
