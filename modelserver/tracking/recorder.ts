/** The records of one model: sampling, batching and error records (specification 5.1). Where they go is its stream's business. */

import { hostname } from 'node:os'
import { type TraceContext, traceparent } from '../trace.ts'
import { formatWhen, microsecSince, type Start } from './clock.ts'
import type { TrackingPlan } from './plan.ts'
import { Pusher, type PushFailure } from './push.ts'
import { snapshot } from './snapshot.ts'

/** What records say about their model. Read at each record, so labels and metrics are those of that moment. */
export interface TrackedModel {
  readonly className: string
  readonly name: string
  readonly version: string
  labels(): Record<string, unknown>
  metrics(): Record<string, unknown>
}

export interface RecorderOptions {
  worker?: number
  host?: string
  onFailure?: PushFailure
}

/** One request that was answered: `request` as predict saw it, `resp` after postprocess. `op` is null for a vote. */
export interface Success {
  start: Start
  op: string | null
  request: unknown
  resp: unknown
  trace?: TraceContext | undefined
}

/** One request whose predict or explain threw `error` (the message; when verbose, a newline and the stack). */
export interface Failure {
  start: Start
  op: string | null
  request: unknown
  /** Added to the request. */
  id: unknown
  error: string
  trace?: TraceContext | undefined
}

const headers = ['request', 'op', 'resp', 'when', 'microsec', 'metrics'] as const

export class Recorder {
  readonly #model: TrackedModel
  readonly #plan: TrackingPlan
  readonly #worker: number
  readonly #host: string
  readonly #pusher: Pusher
  #successes = 0
  #rows: unknown[][] = []

  constructor(model: TrackedModel, plan: TrackingPlan, options: RecorderOptions = {}) {
    this.#model = model
    this.#plan = plan
    this.#worker = options.worker ?? 0
    this.#host = options.host ?? hostname()
    this.#pusher = new Pusher(plan.target, options.onFailure)
  }

  /** Every `sample`-th success becomes a record, or a row of one. Copies what it is given; never throws. */
  success({ start, op, request, resp, trace }: Success): void {
    if (++this.#successes % this.#plan.sample !== 0) return
    const microsec = microsecSince(start)
    const when = formatWhen(start.epochMs)
    const metrics = this.#model.metrics()
    if (this.#plan.batch === 1) {
      const numbers = Object.keys(metrics).length > 0 ? { metrics } : {}
      this.#push({ request, op, resp, when, microsec, ...numbers, ...traced(trace) })
      return
    }
    this.#rows.push([request, op, resp, when, microsec, metrics].map(snapshot))
    if (this.#rows.length >= this.#plan.batch) this.#pushRows()
  }

  /** Pushed at once, whatever sampling and batching say. Copies what it is given; never throws. */
  error({ start, op, request, id, error, trace }: Failure): void {
    const isObject = typeof request === 'object' && request !== null && !Array.isArray(request)
    this.#push({
      request: isObject ? { ...request, id } : request,
      op,
      when: formatWhen(start.epochMs),
      error,
      ...traced(trace),
    })
  }

  /** Pushes a partly filled batch and waits, at most `deadlineMs`, for what is under way. */
  flush(deadlineMs?: number): Promise<void> {
    if (this.#rows.length > 0) this.#pushRows()
    return this.#pusher.flush(deadlineMs)
  }

  #pushRows(): void {
    const values = this.#rows
    this.#rows = []
    this.#pusher.push({ ...this.#base(), headers: [...headers], values })
  }

  #push(content: Record<string, unknown>): void {
    this.#pusher.push(snapshot({ ...this.#base(), ...content }))
  }

  #base(): Record<string, unknown> {
    const labels = this.#model.labels()
    return {
      class: this.#model.className,
      worker: this.#worker,
      model: this.#model.name,
      version: this.#model.version,
      host: this.#host,
      function_uri: this.#plan.functionUri,
      ...(Object.keys(labels).length > 0 ? { labels: snapshot(labels) } : {}),
    }
  }
}

/** Rows of a batch have no column for it. */
function traced(trace: TraceContext | undefined): { traceparent?: string } {
  return trace === undefined ? {} : { traceparent: traceparent(trace) }
}

/**
 * What a success's record shows, given the model's `loggedResults`: the request and response themselves for
 * `[null, null]`, else the logged inputs and outputs alone.
 */
export function loggedPair(
  id: unknown,
  request: unknown,
  resp: unknown,
  [inputs, outputs]: readonly [unknown[] | null, unknown[] | null],
): { request: unknown; resp: unknown } {
  if (inputs === null && outputs === null) return { request, resp }
  return { request: { id, inputs: inputs ?? [] }, resp: { outputs: outputs ?? [] } }
}
