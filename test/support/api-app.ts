/** The HTTP surface over a real store and a real platform client, without Temporal: accepted predictions just wait. */
import { randomUUID } from 'node:crypto'
import { onTestFinished } from 'vitest'
import { type Api, type ApiDeps, type ApiSettings, makeApp } from '../../api/app.ts'
import { makeDirectCalls } from '../../api/direct.ts'
import type { Gate } from '../../api/gate.ts'
import { makeGenerations } from '../../api/generation.ts'
import { makeFlightIds } from '../../api/ids.ts'
import type { PredictionService } from '../../api/predictions.ts'
import { mismatch, queueFull } from '../../api/refusals.ts'
import { ServiceError } from '../../contracts/errors.ts'
import { makeLogger } from '../../logging.ts'
import { makeMetrics } from '../../metrics.ts'
import type { CallPlatform, PlatformSettings } from '../../platforms/platform.ts'
import { makePlatforms } from '../../platforms/platforms.ts'
import { makeRouting, type RoutingOptions } from '../../platforms/routing.ts'
import { makeHeldCalls } from '../../records/held-calls.ts'
import { openSqliteStore } from '../../records/sqlite.ts'
import type { Store } from '../../records/store.ts'
import { makeTerminalWaiter } from '../../records/terminal-waiter.ts'
import { temporaryFolder } from './folders.ts'
import { json, type ScriptedServer, type Step, startScriptedServer } from './scripted-server.ts'

export interface TestApiOptions {
  /** How the platform answers; `{"outputs":[1]}` if absent. */
  answer?: Step
  platform?: 'v2' | 'kserve' | 'k8s'
  settings?: Partial<ApiSettings>
  service?: Partial<PredictionService>
  models?: RoutingOptions['models']
  gate?: Gate
  /** Absent: no webhooks can be ordered. */
  webhookGuard?: NonNullable<ApiDeps['webhookGuard']>
  /** Why the process is not ready. */
  notReady?: () => ServiceError | undefined
  temporalAnswers?: boolean
  taskTimeoutMs?: number
}

export interface TestApi {
  app: Api
  store: Store
  platform: ScriptedServer
  queue: string
  processId: string
  deps: ApiDeps
  settings: ApiSettings
  /** What was logged, one object per line. */
  logged: Record<string, unknown>[]
  post(path: string, body?: unknown, headers?: Record<string, string>): Promise<Response>
  get(path: string): Promise<Response>
  /** An accepted prediction that waits. */
  waiting(modelName?: string): Promise<string>
  /** Records there are, of any status. */
  records(): Promise<number>
}

export async function startTestApi(options: TestApiOptions = {}): Promise<TestApi> {
  const platform = await startScriptedServer(options.answer ?? json({ outputs: [1] }))
  onTestFinished(() => platform.close())
  const taskTimeoutMs = options.taskTimeoutMs ?? 30_000
  const target = settingsOf(options.platform ?? 'v2', platform.address, taskTimeoutMs)
  const platforms = makePlatforms([target])
  const store = await openSqliteStore({ dataDir: temporaryFolder('api') })
  const processId = `api-${randomUUID().slice(0, 8)}`
  const held = makeHeldCalls(store, processId)
  const waiter = makeTerminalWaiter(store)
  await store.registerProcess(processId, 'api')
  await store.openProcess(processId)

  const queue = 'tests'
  const settings: ApiSettings = {
    queue,
    maxQueueSize: 100,
    taskTimeoutMs,
    maxBodyBytes: 100_000,
    modelName: '',
    uploadWebhook: () => 'http://uploads.test/upload',
    ...options.settings,
  }
  const metrics = makeMetrics()
  const direct = makeDirectCalls({
    store,
    held,
    waiter,
    processId,
    queue,
    taskTimeoutMs,
    platform(name) {
      const found = platforms.get(name)
      if (found.lane !== 'call') throw new Error('only platforms that answer on the request')
      return found as CallPlatform
    },
    doubts: certain,
    onReplay: metrics.idempotentReplay,
    onDead: () => {
      throw new Error('the store says that this process is dead')
    },
  })
  const service: PredictionService = {
    predict: (request) => direct.predict(request),
    async submit({ target: { platform: name, name: modelName, version }, inputs, uid, ...more }) {
      const { prefix, ids } = makeFlightIds(1)
      const admitted = await store.admit({
        processId,
        queue,
        maxQueueSize: settings.maxQueueSize,
        flight: { prefix, platform: name, lane: 'call', heartbeatTimeoutMs: 2_000 },
        items: [
          {
            id: ids[0]!,
            modelName,
            modelVersion: version,
            inputs,
            uid,
            ...(more.idempotency && { idempotency: more.idempotency }),
            ...(more.webhook && { webhook: more.webhook }),
            ...(more.cancelAfterMs !== undefined && { cancelAfterMs: more.cancelAfterMs }),
            ...(more.retryOf !== undefined && { retryOf: more.retryOf }),
          },
        ],
      })
      if (admitted.outcome !== 'admitted') throw new ServiceError('draining', 'the service is shutting down')
      const item = admitted.items[0]!
      if (item.outcome === 'full') throw queueFull()
      if (item.outcome === 'mismatch') throw mismatch()
      return { id: item.outcome === 'earlier' ? item.id : ids[0]! }
    },
    async waitFor(id, waitMs) {
      await waiter.waitFor(id, waitMs)
      return store.get(id)
    },
    cancel: (id) => store.cancel(id),
    redeliver: async () => undefined,
    wakeQueue: () => undefined,
    wakeFlights: () => undefined,
    ...options.service,
  }
  const logged: Record<string, unknown>[] = []
  const deps: ApiDeps = {
    service,
    store,
    routing: makeRouting({
      fallback: target,
      explicitFallback: options.models === undefined,
      ...(options.models === undefined ? {} : { models: options.models }),
    }),
    platform: (name) => platforms.get(name),
    readiness: { now: () => options.notReady?.(), temporalAnswers: () => options.temporalAnswers ?? true },
    generations: makeGenerations({
      store,
      held,
      processId,
      queue,
      taskTimeoutMs,
      waiter,
      platform: (name) => platforms.get(name),
      submit: (request) => service.submit(request),
      wake: () => undefined,
      queueAllowanceMs: 1_000,
      doubts: certain,
      onEnd: metrics.finished,
      onReplay: metrics.idempotentReplay,
      onDead: () => undefined,
    }),
    ...(options.gate === undefined ? {} : { gate: options.gate }),
    ...(options.webhookGuard === undefined ? {} : { webhookGuard: options.webhookGuard }),
    metrics,
    log: makeLogger(
      { development: false, logLevel: 'debug' },
      { write: (line) => void logged.push(JSON.parse(line)) },
    ),
  }
  const app = makeApp(deps, settings)
  onTestFinished(async () => {
    await direct.drained()
    held.close()
    waiter.close()
    await platforms.close()
    await store.leaveProcess(processId)
    await store.close()
  })

  return {
    app,
    store,
    platform,
    queue,
    processId,
    deps,
    settings,
    logged,
    post: async (path, body, headers = {}) =>
      app.request(path, {
        method: 'POST',
        headers,
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      }),
    get: async (path) => app.request(path),
    async waiting(modelName = 'm') {
      const { id } = await service.submit({
        target: deps.routing.resolve(modelName),
        inputs: '{}',
        uid: '',
      })
      return id
    },
    records: async () => (await store.list({ limit: 1000 })).items.length,
  }
}

const certain = {
  begun() {
    throw new Error('SQLite answers every commit')
  },
}

function settingsOf(platform: 'v2' | 'kserve' | 'k8s', address: string, timeoutMs: number): PlatformSettings {
  switch (platform) {
    case 'v2':
      return { platform, address, protocol: 'mlrun', timeoutMs }
    case 'k8s':
      return { platform, address, timeoutMs }
    case 'kserve':
      return {
        platform,
        address,
        customDomain: 'example.com',
        namespace: 'default',
        version: '0.10.2',
        protocol: 'v1',
        timeoutMs,
      }
  }
}
