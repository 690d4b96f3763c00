/** The Temporal SDK's runtime in this process: its log lines go into ours, and signals are left to us. */
import { DefaultLogger, makeTelemetryFilterString, Runtime } from '@temporalio/worker'

export interface RuntimeLog {
  warn(details: object, text: string): void
  error(details: object, text: string): void
}

/** Once per process, before anything connects. Warnings and errors only: what succeeds is in the Temporal UI. */
export function installRuntime(log: RuntimeLog): void {
  Runtime.install({
    // By default the SDK stops the workers itself on SIGTERM, ahead of our own order of things.
    shutdownSignals: [],
    logger: new DefaultLogger('WARN', ({ level, message, meta }) => {
      // Workers of activities alone are meant to be so.
      if (message.startsWith('No workflows registered')) return
      if (level === 'WARN') log.warn({ sdk: meta }, message)
      else log.error({ sdk: meta }, message)
    }),
    telemetryOptions: {
      logging: { forward: {}, filter: makeTelemetryFilterString({ core: 'WARN', other: 'WARN' }) },
    },
  })
}
