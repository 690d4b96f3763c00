/** The door of scheduling: queues and limits, batches, worker threads, and the metrics a server is watched by. */

export { type BatchAdapter, listBatches, tensorBatches } from './adapters.ts'
export { Batcher, type BatchingOptions, checkBatching } from './batcher.ts'
export { type ModelMetrics, type ModelSource, ServerMetrics } from './metrics.ts'
export {
  type Call,
  checkLimits,
  ModelQueue,
  type QueueLimits,
  type RejectReason,
  TimeLimitError,
} from './queue.ts'
