/** The API process: composes store, platforms, prediction service, routes and listener; owns their order, both ways. */
import { randomBytes } from 'node:crypto'
import { type ApiConfig, loadApi, temporalConnection } from '../config.ts'
import { type Logger, makeLogger } from '../logging.ts'
import { type Metrics, makeMetrics } from '../metrics.ts'
import { makeAddressGuard } from '../platforms/guarded-address.ts'
import { openRouting } from '../platforms/open-routing.ts'
import { makePlatforms, type Platforms } from '../platforms/platforms.ts'
import type { Routing } from '../platforms/routing.ts'
import { aborted, drainAndLeave, runToExit } from '../processes.ts'
import { makeRecordRoutes } from '../records/app.ts'
import { makeHeldCalls } from '../records/held-calls.ts'
import { type Mirror, makeMirror } from '../records/mirror.ts'
import { openStore } from '../records/open.ts'
import { openFiles } from '../records/open-files.ts'
import { makeOutboxSender } from '../records/outbox-sender.ts'
import type { HeldCalls, Store, TerminalWaiter } from '../records/store.ts'
import { makeTerminalWaiter } from '../records/terminal-waiter.ts'
import { untilThere } from '../records/until-there.ts'
import { makeUploadTokens } from '../records/upload-tokens.ts'
import { makeApiReports } from '../reports.ts'
import { observe } from '../runtime/http/observe.ts'
import { startTracing } from '../tracing/start.ts'
import { makeApp } from './app.ts'
import { makeGate } from './gate.ts'
import { startLifecycle } from './lifecycle.ts'
import { drainHttp, watchReadiness } from './readiness.ts'
import { serveHttp } from './server.ts'
import { makeValidationService } from './validations.ts'

export interface ApiParts {
  store: Store
  held: HeldCalls
  waiter: TerminalWaiter
  processId: string
  /** True once `processId` is registered in the store as `api`, false if it never will be; absent = it is. */
  registered?: Promise<boolean>
  platforms: Platforms
  routing: Routing
  metrics: Metrics
  log: Logger
  /** The external record service; absent = no mirror. */
  mirror?: Mirror
  /** Another process has declared this one dead: it must exit at once, writing nothing more. */
  onDead(): void
}

export interface RunningApi {
  /** `http://127.0.0.1:8000`. */
  url: string
  /** Resolves when the guard has opened this process: predictions are accepted from now on. */
  opened: Promise<void>
  /** Not ready at once, served for `SHUTDOWN_DELAY`, then nothing is accepted and what runs here ends. */
  drain(): Promise<void>
}

/** Throws an `Error` of one line when the address cannot be had; nothing is left running then. */
export async function startApi(config: ApiConfig, parts: ApiParts): Promise<RunningApi> {
  const { store, held, waiter, processId, platforms, routing, metrics, log } = parts
  const { namespace, taskQueue } = config.temporal
  const platform = platforms.get
  let url = ''
  const records = await composeRecords(config, parts)

  const temporal = {
    connection: temporalConnection(config.temporal),
    namespace,
    taskQueue,
  }
  const validations = makeValidationService(store.validations, temporal, config.runners)
  const lifecycle = startLifecycle({
    store,
    held,
    waiter,
    platform,
    processId,
    ...(parts.registered !== undefined && { registered: parts.registered }),
    temporal,
    queue: config.queue,
    maxQueueSize: config.maxQueueSize,
    taskTimeoutMs: config.taskTimeoutMs,
    workerConcurrency: config.concurrency,
    makeOutbox: (startDelivery) =>
      makeOutboxSender({
        store,
        ...(parts.mirror !== undefined && { mirror: parts.mirror }),
        startDelivery,
        warn: (text) => log.warn(text),
      }),
    ...makeApiReports(parts),
    onDead: parts.onDead,
    warn: (text) => log.warn(text),
  })
  const readiness = watchReadiness({
    ready: lifecycle.ready,
    temporal: lifecycle.pingTemporal,
    onTemporal: metrics.temporalAnswers,
  })
  const app = makeApp(
    {
      service: lifecycle.service,
      store,
      routing,
      platform,
      readiness,
      metrics,
      queueBacklogs: lifecycle.queueBacklogs,
      log,
      gate: makeGate({ validations: store.validations, mode: config.gate }),
      generations: lifecycle.generations,
      webhookGuard: makeAddressGuard(config.webhooks),
      validations,
      recordRoutes: records.routes,
    },
    {
      queue: config.queue,
      maxQueueSize: config.maxQueueSize,
      taskTimeoutMs: config.taskTimeoutMs,
      maxBodyBytes: config.maxBodyBytes,
      modelName: config.modelName,
      generateDefault: config.generateDefault,
      uploadWebhook: (predictionId) => records.uploadAddress(url, predictionId),
    },
  )
  try {
    const server = await serveHttp(app, config.address)
    url = server.url
    log.info({ url, processId }, 'API listens')
    return {
      url,
      opened: lifecycle.opened,
      async drain() {
        await drainHttp(server, readiness, config.shutdownDelayMs)
        await lifecycle.drain()
        await validations.close()
      },
    }
  } catch (error) {
    readiness.stop()
    await lifecycle.drain()
    await validations.close()
    throw error
  }
}

/** The record service beside the API, and where models upload for one prediction. */
async function composeRecords(config: ApiConfig, { store, metrics, log }: ApiParts) {
  const apiKey = config.recordsApiKey.reveal()
  const tokens = makeUploadTokens(apiKey)
  const address = config.uploadWebhookAddress === '' ? undefined : `http://${config.uploadWebhookAddress}`
  const routes = makeRecordRoutes(
    { store, bytes: await openFiles(config.files), tokens },
    {
      apiKey,
      maxBodyBytes: config.maxBodyBytes,
      maxFileBytes: config.maxUploadBytes,
      retentionMs: config.retentionMs,
      ...(address !== undefined && { baseUrl: () => address }),
      observe: (path, handler) => observe({ metrics, log }, path, 'inherited', handler),
    },
    (error) => log.error({ error }, 'request failed'),
  )
  return {
    routes,
    uploadAddress(url: string, predictionId: string): string {
      const base = address ?? url
      if (apiKey === '') return `${base}/upload`
      // A model sends no key: the address itself lets it upload, for as long as records last.
      return `${base}/u/${tokens.issue(predictionId, config.retentionMs)}/upload`
    },
  }
}

/** An API process of its own. Resolves when it has stopped. */
export async function runApiProcess(config: ApiConfig, stop: AbortSignal): Promise<void> {
  const log = makeLogger(config)
  for (const warning of config.warnings) log.warn(warning)
  const routing = await openRouting(config, log)
  const mirror = config.mirror && makeMirror(config.mirror)
  const store = await openStore(config.store, { mirror: mirror !== undefined, patient: true })
  const processId = `api-${randomBytes(6).toString('hex')}`
  const register = () => store.registerProcess(processId, 'api')
  const registered = untilThere(register, stop, (text) => log.warn(text))
  // Awaited below, once the API listens.
  registered.catch(() => undefined)
  const held = makeHeldCalls(store, processId)
  const waiter = makeTerminalWaiter(store)
  const platforms = makePlatforms(Object.values(config.platforms))
  const own = { metrics: makeMetrics(), log, ...(mirror && { mirror }) }
  const tracing = await startTracing(config.tracing, 'perdure-api', (text) => log.warn(text))
  const parts = { store, held, waiter, processId, registered, platforms, routing, ...own }
  let api: RunningApi | undefined
  try {
    api = await startApi(config, { ...parts, onDead: () => exitDead(log) })
    await registered
    await aborted(stop)
    log.info('API drains')
  } finally {
    await drainAndLeave({
      drain: () => api?.drain(),
      leave: async () => {
        if (await registered.catch(() => false)) await store.leaveProcess(processId)
      },
    })
    held.close()
    waiter.close()
    await platforms.close()
    await mirror?.close()
    await store.close()
    await tracing.stop()
    log.info('API has stopped')
    log.flush()
  }
}

/** Others may have taken over already: the only safe act is to be gone. */
export function exitDead(log: Logger): never {
  log.fatal('another process has declared this one dead: it exits')
  log.flush()
  process.exit(1)
}

if (import.meta.main) process.exit(await runToExit('api', (stop) => runApiProcess(loadApi(), stop)))
