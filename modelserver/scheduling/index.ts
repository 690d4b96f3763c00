/** The door of scheduling: queues and limits, batches, and the metrics a server is watched by. */

export { type BatchAdapter, listBatches, tensorBatches } from './adapters.ts'
export { Batcher } from './batcher.ts'
export {
  type BatchingOptions,
  type Call,
  checkBatching,
  checkLimits,
  type QueueLimits,
  type RejectReason,
} from './limits.ts'
export { type ModelMetrics, type ModelSource, ServerMetrics } from './metrics.ts'
export { ModelQueue, type Slot } from './queue.ts'
