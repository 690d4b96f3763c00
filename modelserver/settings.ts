/** What users may set per model and per server. Types only: defaults live where they are used. */

import type { ServerContext } from './context.ts'
import type { ModelClass, Protocol } from './model.ts'
import type { BatchingOptions, QueueLimits, ServerMetrics } from './scheduling/index.ts'
import type { EndpointStore, ErrorStream, TrackingPlan } from './tracking/index.ts'

/** Options of `addModel`. Left-out limits are off, except `maxQueueSize` = 100. Times in milliseconds. */
export interface ModelSettings extends QueueLimits {
  class?: ModelClass
  /** Ready-made model object, handed to the constructor. */
  model?: unknown
  modelPath?: string
  params?: Record<string, unknown>
  /** Default: the server's. */
  protocol?: Protocol
  inputPath?: string
  resultPath?: string
  /** Joins concurrent requests; on if `maxSize` is above 1. */
  batching?: BatchingOptions
  /** Requests that run through the model before it counts as ready. */
  warmup?: readonly object[]
  /** `thread`: the hooks run in a worker thread, so that a CPU-bound model does not stop the others. Needs `module`. */
  isolate?: 'thread'
  /** With `isolate`: file URL or absolute path of the module that exports the class. */
  module?: string | URL
  /** With `isolate`: name of the export; default: the name of `class`, else `default`. */
  export?: string
  /** With `isolate`: heap limit of the thread in MB; over it only the thread ends. */
  maxOldGenerationMb?: number
}

/** How long stream events wait for a model that loads: `attempts` looks, `intervalMs` apart. */
export interface ReadinessWait {
  intervalMs: number
  attempts: number
}

/** What a server shares with the models it hosts. */
export interface HostServices {
  readonly context: ServerContext
  /** Protocol of models that name none. */
  readonly protocol: Protocol
  readonly dictOps: boolean
  readonly timestamps: boolean
  readonly readinessWait: ReadinessWait
  readonly pingMs: number
  readonly maxBodyBytes: number
  readonly metrics: ServerMetrics
  readonly tracking: TrackingPlan | undefined
  readonly endpoints: EndpointService | undefined
  /** Registered versions of a model name, in registration order. */
  versionsOf(name: string): string[]
}

/** What a server's own paths need beyond that. */
export interface ServerServices extends HostServices {
  readonly errorStream: ErrorStream | undefined
}

export interface EndpointService {
  readonly store: EndpointStore
  readonly functionUri: string
  readonly trackModels: boolean
  /** 1 alone, 3 child of an ensemble. */
  readonly endpointType: 1 | 3
}
