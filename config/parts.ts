/** Groups of settings that several processes share: listening, store, Temporal, mirror, webhooks, runners. */
import { homedir, hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { taskQueueOf } from '../contracts/names.ts'
import { type RunnerKind, runnerKinds } from './keys.ts'
import type { Reader } from './reader.ts'
import { type Address, type Env, Secret } from './values.ts'

const loopback = /^(127\.\d+\.\d+\.\d+|::1|localhost)$/

export function logging(read: Reader) {
  return { development: read('ENVIRONMENT') === 'development', logLevel: read('LOG_LEVEL') }
}

export function listening(read: Reader, standard?: string) {
  const at = read('HTTP_SERVER_ADDRESS', standard)
  if (!loopback.test(at.host)) {
    read.warn(
      `HTTP_SERVER_ADDRESS: ${at.host} is not loopback and there is no API key: whoever reaches it may use it`,
    )
  }
  return { address: at, maxBodyBytes: read('MAX_BODY_SIZE'), shutdownDelayMs: read('SHUTDOWN_DELAY') }
}

/** Where records live. */
export type StoreSettings =
  | { kind: 'sqlite'; dataDir: string }
  | { kind: 'postgres'; dataDir: string; url: Secret }

/** Where uploaded files lie: a matter of APIs and record services alone. */
export type FileSettings =
  | { kind: 'folder'; dataDir: string }
  | { kind: 's3'; bucket: string; region: string; prefix: string; endpoint?: string }

export function files(read: Reader): { files: FileSettings } {
  const bucket = read('UPLOAD_S3_BUCKET')
  const endpoint = read('UPLOAD_S3_ENDPOINT')
  const s3 = { region: read('UPLOAD_S3_REGION'), prefix: read('UPLOAD_S3_PREFIX') }
  if (bucket === '') return { files: { kind: 'folder', dataDir: resolve(read('PERDURE_DATA_DIR')) } }
  return { files: { kind: 's3', bucket, ...s3, ...(endpoint !== '' && { endpoint }) } }
}

/** How long an idempotency key stands for its first request, while the record is there. */
const idempotencyKeyMs = 24 * 60 * 60 * 1000

export function store(read: Reader): {
  store: StoreSettings
  retentionMs: number
  maxUploadBytes: number
} {
  const dataDir = resolve(read('PERDURE_DATA_DIR'))
  const database = read('DATABASE_URL')
  const name = read.given('RECORD_RETENTION') ? 'RECORD_RETENTION' : 'REDIS_KEY_DURATION'
  const retentionMs = read(name)
  if (retentionMs < idempotencyKeyMs)
    read.warn(`${name}: below 24h, so idempotency keys end with their records: a repeated request runs again`)
  return {
    store:
      database === ''
        ? { kind: 'sqlite', dataDir }
        : { kind: 'postgres', dataDir, url: new Secret(database) },
    retentionMs,
    maxUploadBytes: read('MAX_UPLOAD_SIZE'),
  }
}

/** How to reach Temporal; `tls` in the shape its connection options take. */
export interface TemporalSettings {
  address: string
  namespace: string
  taskQueue: string
  apiKey: Secret
  tls:
    | false
    | {
        serverNameOverride?: string
        serverRootCACertificate?: Buffer
        clientCertPair?: { crt: Buffer; key: Buffer }
      }
}

/** Those settings in the shape that every kind of Temporal's connections takes. */
export function temporalConnection({ address, tls, apiKey }: TemporalSettings) {
  return { address, tls: tls === false ? null : tls, ...(apiKey.given && { apiKey: apiKey.reveal() }) }
}

export function temporal(read: Reader): TemporalSettings {
  const taskType = read('TASK_TYPE_NAME')
  const apiKey = read('TEMPORAL_API_KEY')
  const [ca, crt, key] = [read('TEMPORAL_TLS_CA'), read('TEMPORAL_TLS_CERT'), read('TEMPORAL_TLS_KEY')]
  const serverName = read('TEMPORAL_TLS_SERVER_NAME')
  if (crt && !key) read.fault('TEMPORAL_TLS_KEY: required with TEMPORAL_TLS_CERT')
  if (key && !crt) read.fault('TEMPORAL_TLS_CERT: required with TEMPORAL_TLS_KEY')
  const secure = read('TEMPORAL_TLS') || apiKey.given || ca || crt || key
  return {
    address: read('TEMPORAL_ADDRESS'),
    namespace: read('TEMPORAL_NAMESPACE'),
    taskQueue: read('TEMPORAL_TASK_QUEUE') || taskQueueOf(taskType),
    apiKey,
    tls: secure
      ? {
          ...(serverName && { serverNameOverride: serverName }),
          ...(ca && { serverRootCACertificate: ca }),
          ...(crt && key && { clientCertPair: { crt, key } }),
        }
      : false,
  }
}

/** As the scripts that run before any package is installed look for it (dev/cache.ts). */
export function cache(read: Reader, env: Env): { cacheDir: string } {
  const given = read('PERDURE_CACHE_DIR')
  if (given !== '') return { cacheDir: resolve(given) }
  const caches = env.XDG_CACHE_HOME || join(env.HOME || homedir(), '.cache')
  return { cacheDir: resolve(caches, 'perdure') }
}

export function mirror(read: Reader): { mirror: { address: string; apiKey: Secret } | undefined } {
  const to = read('WEBHOOK_SERVER_ADDRESS')
  const apiKey = read('WEBHOOK_APIKEY')
  return { mirror: to === '' ? undefined : { address: to, apiKey } }
}

/** Key of the record service; without one its writing calls are open to whoever reaches the address. */
export function recordsKey(read: Reader, { host }: Address): Secret {
  const key = read('SECRET_APIKEY')
  if (!key.given && !loopback.test(host)) {
    read.warn(
      'SECRET_APIKEY: not set, and HTTP_SERVER_ADDRESS is not loopback: whoever reaches it may change records (PUT /task) and upload files',
    )
  }
  return key
}

export function webhooks(read: Reader) {
  if (read.given('DATABASE_URL') && !read.given('WEBHOOK_SECRET')) {
    read.warn(
      'WEBHOOK_SECRET: not set, though hosts may share DATABASE_URL: each signs user webhooks with a secret of its own',
    )
  }
  return {
    webhooks: {
      secrets: read('WEBHOOK_SECRET'),
      allowHttp: read('WEBHOOK_ALLOW_HTTP'),
      allowCidrs: read('WEBHOOK_ALLOW_CIDRS'),
      allowPorts: read('WEBHOOK_ALLOW_PORTS'),
    },
  }
}

/** Files that jobs name in their outputs; `address` empty = copies are named relative to the API. */
export function outputFiles(read: Reader) {
  return { outputFiles: { hosts: read('REPLICATE_FILE_HOSTS'), address: read('UPLOAD_WEBHOOK_ADDRESS') } }
}

/** Traces; undefined = none are recorded. */
export function tracing(read: Reader) {
  const base = read('OTEL_EXPORTER_OTLP_ENDPOINT')
  const own = read('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT')
  const service = read('OTEL_SERVICE_NAME')
  const attributes = read('OTEL_RESOURCE_ATTRIBUTES')
  const settings = {
    url: own || `${base}/v1/traces`,
    protocol: read('OTEL_EXPORTER_OTLP_PROTOCOL'),
    headers: read('OTEL_EXPORTER_OTLP_HEADERS'),
    resource: {
      ...Object.fromEntries(attributes.map(({ name, value }) => [name, value])),
      ...(service !== '' && { 'service.name': service }),
    },
    sampler: read('OTEL_TRACES_SAMPLER'),
    ratio: read('OTEL_TRACES_SAMPLER_ARG'),
  }
  const off = read('OTEL_SDK_DISABLED') || (base === '' && own === '')
  return { tracing: off ? undefined : settings }
}

/** What a served candidate inherits of the worker's environment. */
const passedOn = ['PATH', 'HOME', 'LANG', 'TMPDIR'] as const
const secretPrefix = 'PERDURE_SECRET_'

/**
 * Platforms that validations may use. A validation runs what its sender says, where the worker may: while strangers may
 * reach the API, none that the operator has not named. `named`: the operator has said which.
 */
export function runners(read: Reader): { kinds: readonly RunnerKind[]; named: boolean } {
  const named = read('PERDURE_RUNNERS')
  const isPrivate = loopback.test(read('HTTP_SERVER_ADDRESS').host)
  if (!isPrivate && named !== undefined && named.length > 0) {
    read.warn(
      `PERDURE_RUNNERS: whoever reaches the API may run what they like through ${named.join(' and ')}`,
    )
  }
  return { kinds: named ?? (isPrivate ? runnerKinds : []), named: named !== undefined }
}

export function runner(read: Reader, env: Env) {
  return {
    ...runners(read),
    waitMs: read('PERDURE_RUNNER_WAIT'),
    host: read('PERDURE_RUNNER_HOST') || hostname(),
    dockerHost: read('DOCKER_HOST'),
    kubeconfig: read('KUBECONFIG'),
    clusters: Object.fromEntries(read('KUBERNETES_CLUSTERS').map(({ name, value }) => [name, value])),
    environment: Object.fromEntries(
      passedOn.flatMap((key): [string, string][] => (env[key] === undefined ? [] : [[key, env[key]]])),
    ),
    /** `PERDURE_SECRET_<NAME>`, for `valueFrom.secret` of validations. */
    secrets: Object.fromEntries(
      Object.entries(env).flatMap(([key, value]): [string, Secret][] =>
        key.startsWith(secretPrefix) && value !== undefined
          ? [[key.slice(secretPrefix.length), new Secret(value)]]
          : [],
      ),
    ),
  }
}
