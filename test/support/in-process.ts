/** The whole way of a prediction in the test's own process: real Temporal, real store, a scripted platform over HTTP. */
import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { fileURLToPath } from 'node:url'
import { Client, Connection } from '@temporalio/client'
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js'
import { inject, onTestFinished } from 'vitest'
import type { WebhookSending } from '../../activities/delivery.ts'
import type { OutputFiles } from '../../activities/output-files.ts'
import type { EndEvent } from '../../activities/told.ts'
import { type Api, makeApp } from '../../api/app.ts'
import { type Lifecycle, startLifecycle } from '../../api/lifecycle.ts'
import type { AcceptedRequest } from '../../api/predictions.ts'
import { makeLogger } from '../../logging.ts'
import { makeMetrics } from '../../metrics.ts'
import { makeAddressGuard } from '../../platforms/guarded-address.ts'
import type { PlatformSettings } from '../../platforms/platform.ts'
import { makePlatforms } from '../../platforms/platforms.ts'
import { makeRouting } from '../../platforms/routing.ts'
import { drainAndLeave } from '../../processes.ts'
import { makeHeldCalls } from '../../records/held-calls.ts'
import { makeMirror } from '../../records/mirror.ts'
import { makeOutboxSender } from '../../records/outbox-sender.ts'
import { openSqliteStore } from '../../records/sqlite.ts'
import type { Store } from '../../records/store.ts'
import { makeTerminalWaiter } from '../../records/terminal-waiter.ts'
import { makeApiReports, makeWorkerReports } from '../../reports.ts'
import { workflowBundle } from '../../worker/bundle.ts'
import { installRuntime } from '../../worker/runtime.ts'
import { startWorkers, type Workers, type WorkersOptions } from '../../worker/worker.ts'
import { bundleFolder, temporaryFolder } from './folders.ts'
import { type ScriptedServer, startScriptedServer } from './scripted-server.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
let runtimeInstalled = false

/** Once per process, and only where workers run: the runtime keeps a process alive until they have ended. */
export function installRuntimeOnce(): void {
  if (runtimeInstalled) return
  runtimeInstalled = true
  installRuntime({ warn: () => undefined, error: (details, text) => console.error(text, details) })
}

export interface InProcessOptions {
  concurrency?: number
  maxQueueSize?: number
  taskTimeoutMs?: number
  /** Default true; false = nobody takes anything. */
  worker?: boolean
  dataDir?: string
  retentionMs?: number
  queueAllowanceMs?: number
  /** An external record service at this address, with short pauses between tries. */
  mirror?: { address: string; apiKey: string; tryTimeoutMs?: number }
  webhooks?: WebhookSending
  deliveryDelaysMs?: readonly number[]
  /** Copies the files that jobs name in their outputs. */
  outputFiles?(store: Store): OutputFiles
  /** Default: platform v2 at the scripted server. Gets the server's address. */
  settings?: (address: string, timeoutMs: number) => PlatformSettings
}

/** A worker as another process of the same deployment runs it; whoever starts it stops it. */
export type WorkerOfItsOwn = Pick<WorkersOptions, 'store' | 'held' | 'processId'>

export interface InProcess {
  lifecycle: Lifecycle
  store: Store
  platform: ScriptedServer
  client: Client
  taskQueue: string
  queue: string
  processId: string
  dataDir: string
  workers: Workers | undefined
  /** A request for platform v2 whose inputs are `{"inputs":[n]}`. */
  request(n: number, more?: Partial<AcceptedRequest>): AcceptedRequest
  startWorker(own?: WorkerOfItsOwn): Promise<Workers>
  /** Predictions that the worker has brought to their end. */
  ended: EndEvent[]
  /** The HTTP surface over all of it, without a port. */
  app: Api
}

function v2Settings(address: string, timeoutMs: number): PlatformSettings {
  return { platform: 'v2', address, protocol: 'mlrun', timeoutMs }
}

/** Starts everything; ends it when the test is over. */
export async function startInProcess(options: InProcessOptions = {}): Promise<InProcess> {
  installRuntimeOnce()
  const dataDir = options.dataDir ?? temporaryFolder('in-process')
  const address = inject('temporalAddress')
  const taskQueue = `test-${randomUUID()}`
  const queue = taskQueue
  const taskTimeoutMs = options.taskTimeoutMs ?? 30_000
  const concurrency = options.concurrency ?? 8

  const platform = await startScriptedServer((call, response) => {
    const { inputs } = JSON.parse(call.body) as { inputs: unknown }
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ model_name: 'm', outputs: inputs }))
  })
  onTestFinished(() => platform.close())

  const settings = (options.settings ?? v2Settings)(platform.address, taskTimeoutMs)
  const platforms = makePlatforms([settings])
  const routing = makeRouting({ fallback: settings, explicitFallback: true })

  const mirror =
    options.mirror &&
    makeMirror({ ...options.mirror, apiKey: { reveal: () => options.mirror?.apiKey ?? '' } })
  const outboxPauses = { firstPauseMs: 20, longestPauseMs: 200 }
  const store = await openSqliteStore({ dataDir, mirror: mirror !== undefined })
  const processId = `api-${randomUUID().slice(0, 8)}`
  await store.registerProcess(processId, 'api')
  const held = makeHeldCalls(store, processId)
  const waiter = makeTerminalWaiter(store)
  const connection = await Connection.connect({ address })
  const client = new Client({ connection })

  const metrics = makeMetrics()
  const log = makeLogger({ development: false, logLevel: 'silent' })
  const workerReports = makeWorkerReports({ store, metrics, log })
  const ended: EndEvent[] = []
  async function startWorker(own?: WorkerOfItsOwn): Promise<Workers> {
    const started = startWorkers({
      store,
      held,
      processId,
      ...own,
      limits: { taskTimeoutMs, maxAttempts: 12 },
      resolve: (name, version) => routing.resolve(name, version),
      platform: (name) => platforms.get(name),
      connection: { address },
      namespace: 'default',
      taskQueue,
      queue,
      bundle: await workflowBundle(bundleFolder),
      concurrency,
      ...workerReports,
      onEnd(event) {
        ended.push(event)
        workerReports.onEnd(event)
      },
      retentionMs: options.retentionMs ?? 3_600_000,
      outboxPauses,
      ...(mirror && { mirror }),
      ...(options.outputFiles && { outputFiles: options.outputFiles(store) }),
      ...(options.webhooks && { webhooks: options.webhooks }),
      ...(options.deliveryDelaysMs && { deliveryDelaysMs: options.deliveryDelaysMs }),
      info: () => undefined,
      warn: () => undefined,
    })
    await started.started
    return started
  }

  const workers = options.worker === false ? undefined : await startWorker()
  const lifecycle = startLifecycle({
    store,
    held,
    waiter,
    platform: (name) => platforms.get(name),
    processId,
    temporal: { connection: { address }, namespace: 'default', taskQueue },
    queue,
    maxQueueSize: options.maxQueueSize ?? 1_000,
    taskTimeoutMs,
    workerConcurrency: concurrency,
    makeOutbox: (startDelivery) =>
      makeOutboxSender({
        store,
        ...outboxPauses,
        ...(mirror && { mirror }),
        startDelivery,
        warn: () => undefined,
      }),
    ...(options.queueAllowanceMs !== undefined && { queueAllowanceMs: options.queueAllowanceMs }),
    ...makeApiReports({ store, metrics, log }),
    onDead: () => {
      throw new Error('the store says that this process is dead')
    },
  })
  if (workers !== undefined) await lifecycle.opened

  const app = makeApp(
    {
      service: lifecycle.service,
      store,
      routing,
      platform: (name) => platforms.get(name),
      readiness: { now: () => undefined, temporalAnswers: () => true },
      ...(options.webhooks && {
        webhookGuard: makeAddressGuard(options.webhooks.rules, options.webhooks.resolve),
      }),
      generations: lifecycle.generations,
      metrics,
      log,
    },
    {
      queue,
      maxQueueSize: options.maxQueueSize ?? 1_000,
      taskTimeoutMs,
      maxBodyBytes: 1_000_000,
      modelName: '',
      uploadWebhook: () => 'http://uploads.test/upload',
    },
  )

  const result: InProcess = {
    ended,
    app,
    lifecycle,
    store,
    platform,
    client,
    taskQueue,
    queue,
    processId,
    dataDir,
    workers,
    request: (n, more = {}) => ({
      target: routing.resolve('m'),
      inputs: JSON.stringify({ inputs: [n] }),
      uid: '',
      ...more,
    }),
    async startWorker(own) {
      const started = await startWorker(own)
      if (own === undefined) result.workers = started
      return started
    },
  }
  onTestFinished(async () => {
    await drainAndLeave({
      drain: () => lifecycle.drain(),
      stopWorkers: () => result.workers?.stop(),
      leave: () => store.leaveProcess(processId),
    })
    held.close()
    waiter.close()
    await platforms.close()
    await mirror?.close()
    await store.close()
    await connection.close()
  })
  return result
}

/**
 * Writes a workflow's history to test/histories when PERDURE_RECORD_HISTORIES is set: what the replay test holds later
 * code against. Otherwise does nothing.
 */
export async function recordHistory(client: Client, workflowId: string, name: string): Promise<void> {
  if (!process.env.PERDURE_RECORD_HISTORIES) return
  const handle = client.workflow.getHandle(workflowId)
  await handle.result().catch(() => undefined)
  // The names of the machine that recorded it and of its folders are nobody's business.
  const text = historyToJSON(await handle.fetchHistory())
    .replaceAll(hostname(), 'recorder')
    .replaceAll(root, '')
  writeFileSync(new URL(`../histories/${name}.json`, import.meta.url), text)
}
