/** Starts the workflows that deliver user webhooks, from a worker's own connection. */
import { Client } from '@temporalio/client'
import type { NativeConnection } from '@temporalio/worker'
import type { DeliveryInput } from '../contracts/deliveries.ts'
import {
  deliveryIdOf,
  deliveryQueueOf,
  guardQueueOf,
  workflowNames,
  workflowTaskTimeoutMs,
} from '../contracts/names.ts'
import { tracedStarts } from '../tracing/temporal.ts'

export interface DeliveryStartOptions {
  namespace: string
  taskQueue: string
  /** Milliseconds between the tries; absent = the standard schedule. */
  deliveryDelaysMs?: readonly number[]
}

/** Repeating a start changes nothing: a delivery that is under way, or was made, is left alone. */
export function makeDeliveryStart(connection: NativeConnection, options: DeliveryStartOptions) {
  const { workflow } = new Client({
    connection,
    namespace: options.namespace,
    interceptors: { workflow: [tracedStarts] },
  })
  const delays = options.deliveryDelaysMs
  return async function startDelivery(id: string): Promise<void> {
    const input: DeliveryInput = {
      id,
      queue: deliveryQueueOf(options.taskQueue),
      ...(delays !== undefined && { delaysMs: [...delays] }),
    }
    await workflow.start(workflowNames.delivery, {
      workflowId: deliveryIdOf(id),
      taskQueue: guardQueueOf(options.taskQueue),
      args: [input],
      workflowIdReusePolicy: 'ALLOW_DUPLICATE',
      workflowIdConflictPolicy: 'USE_EXISTING',
      workflowTaskTimeout: workflowTaskTimeoutMs,
      staticSummary: `webhook ${id}`,
    })
  }
}
