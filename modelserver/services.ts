/** Makes what the models of one server share: context, tracking, metrics, endpoint store. Serves nothing. */

import type { Logger, ServerContext } from './context.ts'
import { errorText } from './errors.ts'
import { plainLogger } from './logger.ts'
import type { ServerOptions } from './options.ts'
import type { RouteTable } from './routes.ts'
import { ServerMetrics } from './scheduling/index.ts'
import type { ServerServices } from './settings.ts'
import {
  type EndpointStore,
  ErrorStream,
  openStream,
  perdureEndpoints,
  planTracking,
} from './tracking/index.ts'

export const defaultMaxBodyBytes = 64 * 1024 * 1024

/** `ensemble`: the models are children of one vote. Throws `ValueError` for bad tracking settings. */
export function makeServices(
  options: ServerOptions,
  parameters: Record<string, unknown>,
  routes: RouteTable,
  ensemble: boolean,
): ServerServices {
  const logger = options.logger ?? plainLogger
  const { functionUri, trackModels = false, monitoringStream, mock = false } = options
  const endpointStore = openEndpoints(options.endpointStore)
  const tracking = planTracking({ functionUri, trackModels, monitoringStream, parameters })
  const errorStream = makeErrorStream(options, logger)
  const registers =
    endpointStore !== undefined && functionUri !== undefined && (!mock || tracking !== undefined)
  return {
    context: makeContext(options, parameters, logger, tracking?.target, errorStream),
    protocol: options.protocol ?? 'v2',
    dictOps: options.dictOps ?? false,
    timestamps: options.timestamps ?? false,
    readinessWait: options.readinessWait ?? { intervalMs: 5000, attempts: 50 },
    pingMs: options.pingMs ?? 15_000,
    maxBodyBytes: options.maxBodyBytes ?? defaultMaxBodyBytes,
    metrics: new ServerMetrics(),
    tracking,
    endpoints: registers
      ? { store: endpointStore, functionUri, trackModels, endpointType: ensemble ? 3 : 1 }
      : undefined,
    versionsOf: (name) => routes.versionsOf(name),
    errorStream,
  }
}

function makeContext(
  options: ServerOptions,
  parameters: Record<string, unknown>,
  logger: Logger,
  stream: unknown,
  errorStream: ErrorStream | undefined,
): ServerContext {
  return {
    logger,
    workerId: 0,
    verbose: options.verbose ?? false,
    stream,
    server: options.name ?? 'perdure',
    project: options.functionUri?.split('/', 1)[0] ?? '',
    getParam: (key, defaultValue) => (Object.hasOwn(parameters, key) ? parameters[key] : defaultValue),
    getSecret: (key) => options.getSecret?.(key),
    pushError: (event, message) => errorStream?.push(event, message),
  }
}

function openEndpoints(store: ServerOptions['endpointStore']): EndpointStore | undefined {
  return typeof store === 'string' ? perdureEndpoints(store) : store
}

function makeErrorStream(options: ServerOptions, logger: Logger): ErrorStream | undefined {
  if (options.errorStream === undefined) return undefined
  return new ErrorStream(openStream(options.errorStream), {
    ...(options.functionUri === undefined ? {} : { functionUri: options.functionUri }),
    onFailure: (records, error) =>
      logger.error({ records, error: errorText(error) }, 'error stream not reached'),
  })
}
