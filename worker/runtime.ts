/** The Temporal SDK's runtime in this process: its log lines go into ours, and signals are left to us. */
import { DefaultLogger, MetricsBuffer, makeTelemetryFilterString, Runtime } from '@temporalio/worker'
import type { Metrics } from '../metrics.ts'

export interface RuntimeLog {
  warn(details: object, text: string): void
  error(details: object, text: string): void
}

/** Updates that wait to be taken: ten seconds of a worker at its limit. */
const bufferedUpdates = 50_000

/**
 * Once per process, before anything connects. Warnings and errors only: what succeeds is in the Temporal UI. With
 * `metrics` the SDK's own are collected there; without, they cost nothing.
 */
export function installRuntime(log: RuntimeLog, metrics?: Pick<Metrics, 'sdkFrom'>): void {
  const buffer =
    metrics && new MetricsBuffer({ maxBufferSize: bufferedUpdates, useSecondsForDurations: true })
  if (buffer !== undefined) metrics?.sdkFrom(() => buffer.retrieveUpdates())
  Runtime.install({
    // By default the SDK stops the workers itself on SIGTERM, ahead of our own order of things.
    shutdownSignals: [],
    logger: new DefaultLogger('WARN', ({ level, message, meta }) => {
      // Workers of activities alone are meant to be so.
      if (message.startsWith('No workflows registered')) return
      const workflow = meta?.workflowId
      const about = { ...(typeof workflow === 'string' && { workflow }), sdk: meta }
      if (level === 'WARN') log.warn(about, message)
      else log.error(about, message)
    }),
    telemetryOptions: {
      logging: { forward: {}, filter: makeTelemetryFilterString({ core: 'WARN', other: 'WARN' }) },
      ...(buffer && { metrics: { buffer } }),
    },
  })
}
