/**
 * The only reader of the environment: one frozen settings object per process, made from the table of config/keys.ts.
 * Refuses to start anything; all faults are reported together, each naming its key.
 */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { parseEnv } from 'node:util'
import type { PlatformWord } from './config/keys.ts'
import {
  cache,
  files,
  listening,
  logging,
  mirror,
  outputFiles,
  recordsKey,
  runner,
  runners,
  store,
  temporal,
  tracing,
  webhooks,
} from './config/parts.ts'
import { predictions } from './config/platforms.ts'
import { type Reader, reader } from './config/reader.ts'
import { ConfigError, type Env } from './config/values.ts'

export type { Key } from './config/key-kinds.ts'
export { keys } from './config/keys.ts'
export {
  type FileSettings,
  type StoreSettings,
  type TemporalSettings,
  temporalConnection,
} from './config/parts.ts'
export type { AllPlatformSettings, PlatformSettings } from './config/platforms.ts'
export { type Address, ConfigError, type Env, Secret } from './config/values.ts'

/**
 * The process's environment, with `app.env` of the working directory behind it: the environment always wins,
 * and keys that the file lacks count too.
 */
export function environment(folder: string = process.cwd()): Env {
  let file: Env = {}
  try {
    file = parseEnv(readFileSync(resolve(folder, 'app.env'), 'utf8'))
  } catch (error) {
    const absent = error instanceof Error && 'code' in error && error.code === 'ENOENT'
    if (!absent) throw new ConfigError(['app.env: the file exists but cannot be read'])
  }
  return { ...file, ...process.env }
}

function apiParts(read: Reader, platform?: PlatformWord, standards?: Env) {
  const at = listening(read)
  read('ENABLE_PERIODIC_CHECK')
  return {
    ...logging(read),
    ...at,
    ...store(read),
    ...files(read),
    temporal: temporal(read),
    ...predictions(read, platform, standards),
    ...mirror(read),
    ...webhooks(read),
    ...tracing(read),
    maxQueueSize: read('MAX_QUEUE_SIZE'),
    modelName: read('MODEL_NAME'),
    gate: read('GATE'),
    runners: runners(read),
    generateDefault: read('GENERATE_DEFAULT'),
    /** Empty = the address the API ends up listening on. */
    uploadWebhookAddress: read('UPLOAD_WEBHOOK_ADDRESS'),
    recordsApiKey: recordsKey(read, at.address),
  }
}

/** Settings of the API process. */
export function loadApi(env: Env = environment()) {
  const read = reader(env)
  const parts = apiParts(read)
  return read.done(() => parts)
}
export type ApiConfig = ReturnType<typeof loadApi>

/** Settings of a worker process. */
export function loadWorker(env: Env = environment()) {
  const read = reader(env)
  const parts = {
    ...logging(read),
    ...store(read),
    temporal: temporal(read),
    ...predictions(read),
    ...mirror(read),
    ...webhooks(read),
    ...outputFiles(read),
    ...tracing(read),
    metricsAddress: read('PERDURE_METRICS_ADDRESS'),
    ownershipEveryMs: read('PERDURE_OWNERSHIP_EVERY'),
    ...cache(read, env),
    /** Files go there, signed with the same key as there. */
    apiUrl: read('PERDURE_URL'),
    recordsApiKey: read('SECRET_APIKEY'),
    shutdownDelayMs: read('SHUTDOWN_DELAY'),
    runner: runner(read, env),
  }
  return read.done(() => parts)
}
export type WorkerConfig = ReturnType<typeof loadWorker>

/** Settings of the record service when it runs alone. */
export function loadRecords(env: Env = environment()) {
  const read = reader(env)
  const at = listening(read, '127.0.0.1:12000')
  const parts = {
    ...logging(read),
    ...at,
    ...store(read),
    ...files(read),
    ...tracing(read),
    metricsAddress: read('PERDURE_METRICS_ADDRESS'),
    apiKey: recordsKey(read, at.address),
    queue: read('TASK_TYPE_NAME'),
  }
  return read.done(() => parts)
}
export type RecordsConfig = ReturnType<typeof loadRecords>

/** Settings of the model server's process; its own flags win. */
export function loadServe(env: Env = environment()) {
  const read = reader(env)
  const parts = { ...logging(read), port: read('PERDURE_MODEL_PORT') }
  return read.done(() => parts)
}
export type ServeConfig = ReturnType<typeof loadServe>

/**
 * Settings of `npm start`: API and worker in one process, the sample model server beside them. Without
 * `ML_PLATFORM` every model is sent there; without `TEMPORAL_ADDRESS` Temporal is embedded.
 */
export function loadStart(env: Env = environment()) {
  const read = reader(env)
  const modelPort = read('PERDURE_MODEL_PORT')
  const parts = {
    ...apiParts(read, 'v2', { V2_ADDRESS: `127.0.0.1:${modelPort}` }),
    ...outputFiles(read),
    runner: runner(read, env),
    ownershipEveryMs: read('PERDURE_OWNERSHIP_EVERY'),
    ...cache(read, env),
    modelPort,
    embeddedTemporal: read.given('TEMPORAL_ADDRESS')
      ? undefined
      : {
          port: read('PERDURE_TEMPORAL_PORT'),
          uiPort: read('PERDURE_TEMPORAL_UI_PORT'),
          executable: read('TEMPORAL_CLI_PATH') || undefined,
        },
  }
  return read.done(() => parts)
}
export type StartConfig = ReturnType<typeof loadStart>

/** Settings of the perdure command's own requests. */
export function loadCli(env: Env = environment()) {
  const read = reader(env)
  const parts = { url: read('PERDURE_URL') }
  return read.done(() => parts)
}
export type CliConfig = ReturnType<typeof loadCli>
