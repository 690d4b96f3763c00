/** Every metric a process may show, as its code registers it: name, type, help and labels. */
import { type MetricDescription, makeMetrics } from '../../metrics.ts'

/** Of the SDK's metrics those that dashboard and pages speak of; that a worker shows them is tested elsewhere. */
const ofSdk: [string, string][] = [
  ['temporal_workflow_completed', 'counter'],
  ['temporal_workflow_task_schedule_to_start_latency', 'histogram'],
  ['temporal_workflow_task_execution_latency', 'histogram'],
  ['temporal_activity_schedule_to_start_latency', 'histogram'],
  ['temporal_activity_execution_latency', 'histogram'],
  ['temporal_request_latency', 'histogram'],
  ['temporal_worker_task_slots_available', 'gauge'],
]

export async function describedMetrics(): Promise<MetricDescription[]> {
  const metrics = makeMetrics()
  metrics.backlogFrom({
    store: () => Promise.reject(new Error('nobody asks')),
    maxQueueSize: 1,
    temporal: () => Promise.resolve([]),
  })
  metrics.sdkFrom(() => ofSdk.map(([name, kind]) => ({ metric: { name, kind }, value: 1, attributes: {} })))
  await metrics.text()
  return metrics.described()
}
