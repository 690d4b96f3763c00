/** Decides from options and parameters whether and where a server tracks its models (specification 5.1, 5.2). */

import { ValueError } from '../errors.ts'
import { openStream } from './streams.ts'
import type { StreamTarget } from './target.ts'

export interface TrackingOptions {
  functionUri?: string | undefined
  trackModels?: boolean | undefined
  /** Where records go when there is no `log_stream`. */
  monitoringStream?: string | StreamTarget | undefined
  /** The server's parameters: `log_stream`, `stream_args`, `log_stream_sample`, `log_stream_batch` are read. */
  parameters?: Readonly<Record<string, unknown>> | undefined
}

/** One open stream and how it is used; a server has one, shared by its models. */
export interface TrackingPlan {
  /** As endpoint records name the stream; empty for a target object. */
  streamPath: string
  target: StreamTarget
  functionUri: string
  /** Every n-th success is recorded. */
  sample: number
  /** So many successes make one record. */
  batch: number
}

/**
 * undefined = off: neither `trackModels` nor `log_stream`, no function URI, or no stream named. Opens the stream.
 * Throws `ValueError` for a sample or batch that is no integer of at least 1, and for an unknown stream.
 */
export function planTracking({
  functionUri,
  trackModels,
  monitoringStream,
  parameters = {},
}: TrackingOptions): TrackingPlan | undefined {
  const sample = readCount(parameters, 'log_stream_sample')
  const batch = readCount(parameters, 'log_stream_batch')
  const logStream = parameters.log_stream
  if (!functionUri || !(trackModels || logStream)) return
  const stream = logStream ? asStream(logStream) : monitoringStream
  if (!stream) return
  const streamPath = typeof stream === 'string' ? replaceProject(stream, functionUri) : ''
  const args = isRecord(parameters.stream_args) ? parameters.stream_args : {}
  return { streamPath, target: openStream(streamPath || stream, args), functionUri, sample, batch }
}

/** `{project}` in a stream's path becomes the project of the function URI. */
export function replaceProject(path: string, functionUri: string): string {
  return path.replaceAll('{project}', functionUri.split('/', 1)[0] ?? '')
}

function asStream(value: unknown): string | StreamTarget {
  if (typeof value === 'string' || isTarget(value)) return value
  throw new ValueError(`unsupported stream path ${String(value)}`)
}

function isTarget(value: unknown): value is StreamTarget {
  return typeof value === 'object' && value !== null && 'push' in value && typeof value.push === 'function'
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function readCount(parameters: Readonly<Record<string, unknown>>, name: string): number {
  const value = parameters[name] ?? 1
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1) return value
  throw new ValueError(`${name} must be an integer of at least 1, got ${String(value)}`)
}
