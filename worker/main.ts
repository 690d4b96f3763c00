/** The worker process: composes store, platforms and activities, and runs them until it is told to stop. */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { loadWorker, temporalConnection, type WorkerConfig } from '../config.ts'
import { ServiceError } from '../contracts/errors.ts'
import { maxAttempts } from '../contracts/retry.ts'
import { type Logger, makeLogger } from '../logging.ts'
import { type Metrics, makeMetrics } from '../metrics.ts'
import { openRouting } from '../platforms/open-routing.ts'
import { makePlatforms, type Platforms } from '../platforms/platforms.ts'
import type { Routing } from '../platforms/routing.ts'
import { drainAndLeave, runToExit } from '../processes.ts'
import { makeHeldCalls } from '../records/held-calls.ts'
import { type Mirror, makeMirror } from '../records/mirror.ts'
import { openStore } from '../records/open.ts'
import type { HeldCalls, Store } from '../records/store.ts'
import { untilThere } from '../records/until-there.ts'
import { makeWorkerReports } from '../reports.ts'
import { startWatch } from '../watch.ts'
import { workflowBundle } from './bundle.ts'
import { makeOutputFiles } from './output-files.ts'
import { validationSettings } from './runners.ts'
import { installRuntime } from './runtime.ts'
import { makeUploads } from './uploads.ts'
import { webhookSecrets } from './webhook-secret.ts'
import { startWorkers, type Workers } from './worker.ts'

/** What a process that is API and worker at once shares between them. */
export interface WorkerParts {
  store: Store
  held: HeldCalls
  processId: string
  platforms: Platforms
  routing: Routing
  metrics: Metrics
  log: Logger
  /** The external record service; absent = no mirror. */
  mirror?: Mirror
  /** Where an API or our record service keeps files; asked when there is one. */
  apiUrl: () => string
}

/** Workers over parts that somebody else owns and closes. */
export async function runWorkers(
  config: Omit<WorkerConfig, 'metricsAddress' | 'apiUrl'>,
  parts: WorkerParts,
): Promise<Workers> {
  const { store, held, processId, platforms, routing, log } = parts
  const reports = makeWorkerReports(parts)
  const { namespace, taskQueue } = config.temporal
  const uploads = makeUploads({ store, url: parts.apiUrl, secret: config.recordsApiKey.reveal() })
  return startWorkers({
    store,
    held,
    processId,
    limits: { taskTimeoutMs: config.taskTimeoutMs, maxAttempts },
    resolve: (name, version) => routing.resolve(name, version),
    platform: (name) => platforms.get(name),
    ...reports,
    connection: temporalConnection(config.temporal),
    namespace,
    taskQueue,
    queue: config.queue,
    bundle: await workflowBundle(join(config.cacheDir, 'bundles')),
    concurrency: config.concurrency,
    retentionMs: config.retentionMs,
    ownershipEveryMs: config.ownershipEveryMs,
    expireFiles: uploads.expire,
    outputFiles: makeOutputFiles({
      ...config.outputFiles,
      uploads,
      rules: config.webhooks,
      maxFileBytes: config.maxUploadBytes,
      warn: (details, text) => log.warn(details, text),
    }),
    ...(parts.mirror !== undefined && { mirror: parts.mirror }),
    webhooks: {
      secrets: webhookSecrets({ secrets: config.webhooks.secrets, dataDir: config.store.dataDir }),
      rules: config.webhooks,
      onTry: reports.onTry,
    },
    validation: validationSettings(config, (text) => log.warn(text)),
    info: (text) => log.info(text),
    warn: (text) => log.warn(text),
  })
}

/** A worker process of its own. Resolves when it has stopped. */
export async function runWorkerProcess(config: WorkerConfig, stop: AbortSignal): Promise<void> {
  const log = makeLogger(config)
  for (const warning of config.warnings) log.warn(warning)
  const metrics = makeMetrics()
  installRuntime(log, config.metricsAddress && metrics)
  const mirror = config.mirror && makeMirror(config.mirror)
  const store = await openStore(config.store, { mirror: mirror !== undefined, patient: true })
  let workers: Workers | undefined
  const ready = async () => {
    if (!workers?.running()) throw new ServiceError('temporal_unavailable', 'the workers do not poll')
    await store.ping()
  }
  try {
    const watch = await startWatch(config, { service: 'perdure-worker', log, metrics, ready })
    try {
      await work(config, { store, metrics, log, ...(mirror && { mirror }) }, stop, (running) => {
        workers = running
      })
    } finally {
      await watch.stop()
    }
  } finally {
    await mirror?.close()
    await store.close()
    log.info('worker has stopped')
    log.flush()
  }
}

/** Registered in the store, works until `stop`, and leaves. */
async function work(
  config: WorkerConfig,
  parts: Pick<WorkerParts, 'store' | 'metrics' | 'log' | 'mirror'>,
  stop: AbortSignal,
  onRunning: (workers: Workers) => void,
): Promise<void> {
  const { store, log } = parts
  const processId = `worker-${randomBytes(6).toString('hex')}`
  const register = async () => {
    await store.registerProcess(processId, 'worker')
    await store.openProcess(processId)
  }
  if (!(await untilThere(register, stop, (text) => log.warn(text)))) return
  const held = makeHeldCalls(store, processId)
  const routing = await openRouting(config, log)
  const platforms = makePlatforms(Object.values(config.platforms))
  const apiUrl = () => config.apiUrl
  const workers = await runWorkers(config, { ...parts, held, processId, platforms, routing, apiUrl })
  onRunning(workers)
  void workers.started.then(
    () => {
      if (workers.running()) log.info({ processId, taskQueue: config.temporal.taskQueue }, 'worker polls')
    },
    // `ended` tells of it.
    () => undefined,
  )
  const drain = () => {
    log.info('worker drains')
    // What goes wrong is told by `ended`.
    workers.stop().catch(() => undefined)
  }
  stop.addEventListener('abort', drain)
  // Told to stop while it was composed.
  if (stop.aborted) drain()
  try {
    await drainAndLeave({ stopWorkers: () => workers.ended, leave: () => store.leaveProcess(processId) })
  } finally {
    held.close()
    await platforms.close()
  }
}

if (import.meta.main) process.exit(await runToExit('worker', (stop) => runWorkerProcess(loadWorker(), stop)))
