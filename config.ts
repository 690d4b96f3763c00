/**
 * The only reader of the environment: every key with its default, and one frozen settings object per process.
 * Refuses to start anything; all faults are reported together, each naming its key.
 */
import { readFileSync } from 'node:fs'
import { availableParallelism, homedir, hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { inspect, parseEnv } from 'node:util'
import { durationMs } from './contracts/durations.ts'
import { taskQueueOf } from './contracts/names.ts'

export type Env = Readonly<Record<string, string | undefined>>

/** Every fault of the environment at once; `main.ts` prints one line each and exits 1. */
export class ConfigError extends Error {
  readonly faults: readonly string[]

  constructor(faults: readonly string[]) {
    super(faults.join('\n'))
    this.name = 'ConfigError'
    this.faults = faults
  }
}

/** Text that must not be seen: prints as `***` in strings, JSON and inspection. */
export class Secret {
  readonly #text: string

  constructor(text: string) {
    this.#text = text
  }

  reveal(): string {
    return this.#text
  }

  get given(): boolean {
    return this.#text !== ''
  }

  toString(): string {
    return '***'
  }

  toJSON(): string {
    return '***'
  }

  [inspect.custom](): string {
    return '***'
  }
}

/** `host:port` as a listener or client needs it. Port 0 = any free one. */
export interface Address {
  host: string
  port: number
}

/** One key: how its text is read, its default as a user would write it, and what it does. */
export interface Key<T> {
  readonly standard: string
  readonly what: string
  /** Throws an `Error` whose message continues "KEY: …". */
  readonly parse: (text: string) => T
}

const text = (standard: string, what: string): Key<string> => ({ standard, what, parse: (given) => given })

const secret = (standard: string, what: string): Key<Secret> => ({
  standard,
  what,
  parse: (given) => new Secret(given),
})

function integer(standard: string, least: number, most: number, what: string): Key<number> {
  return {
    standard,
    what,
    parse(given) {
      if (!/^[+-]?\d+$/.test(given)) throw new Error(`"${given}" is not a whole number`)
      const value = Number(given)
      if (value < least || value > most) throw new Error(`${value} is not between ${least} and ${most}`)
      return value
    },
  }
}

const port = (standard: string, what: string) => integer(standard, 0, 65_535, what)

function duration(standard: string, leastMs: number, what: string): Key<number> {
  return {
    standard,
    what,
    parse(given) {
      const ms = durationMs(given)
      if (ms === undefined) throw new Error(`"${given}" is not a duration such as 320, 320s, 5m or 48h`)
      if (ms < leastMs) throw new Error(`"${given}" is shorter than ${leastMs} ms`)
      return ms
    },
  }
}

const sizeUnits = {
  '': 1,
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
} as const

/** `10485760`, `10MiB`, `5GiB`, `20MB`; bytes. */
function parseSize(given: string): number {
  const [, amount, unit] = /^(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|KiB|MiB|GiB|)$/.exec(given) ?? []
  if (amount === undefined || unit === undefined) {
    throw new Error(`"${given}" is not a size such as 1048576, 10MiB or 5GiB`)
  }
  return Math.floor(Number(amount) * sizeUnits[unit as keyof typeof sizeUnits])
}

const size = (standard: string, what: string): Key<number> => ({ standard, what, parse: parseSize })

function flag(standard: string, what: string): Key<boolean> {
  return {
    standard,
    what,
    parse(given) {
      if (/^(true|1|yes|on)$/i.test(given)) return true
      if (/^(false|0|no|off)$/i.test(given)) return false
      throw new Error(`"${given}" is neither true nor false`)
    },
  }
}

function oneOf<const W extends string>(standard: W, words: readonly W[], what: string): Key<W> {
  return {
    standard,
    what,
    parse(given) {
      const word = words.find((candidate) => candidate === given)
      if (word === undefined) throw new Error(`"${given}" is not one of ${words.join(', ')}`)
      return word
    },
  }
}

function parseAddress(given: string): Address {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^\s:/]*)):(\d{1,5})$/.exec(given) ?? []
  const number = Number(digits)
  if (digits === undefined || number > 65_535)
    throw new Error(`"${given}" is not an address such as 127.0.0.1:8000`)
  return { host: bracketed ?? (plain === undefined || plain === '' ? '0.0.0.0' : plain), port: number }
}

const address = (standard: string, what: string): Key<Address> => ({ standard, what, parse: parseAddress })

/** An address of another service: kept as text once it is known to be one. */
function peer(standard: string, what: string): Key<string> {
  return {
    standard,
    what,
    parse(given) {
      if (given === '') return given
      parseAddress(given)
      return given
    },
  }
}

function url(standard: string, protocols: readonly string[], what: string): Key<string> {
  return {
    standard,
    what,
    parse(given) {
      if (given === '') return given
      if (!URL.canParse(given) || !protocols.includes(new URL(given).protocol)) {
        throw new Error(
          `not an address that starts with ${protocols.map((word) => `${word}//`).join(' or ')}`,
        )
      }
      return given.replace(/\/+$/, '')
    },
  }
}

function list<T>(standard: string, what: string, item: (text: string) => T): Key<readonly T[]> {
  return {
    standard,
    what,
    parse: (given) =>
      given
        .split(/[\s,]+/)
        .filter(Boolean)
        .map(item),
  }
}

/** An optional file, read at start so that a wrong path is a fault at once. */
function file(what: string): Key<Buffer | undefined> {
  return {
    standard: '',
    what,
    parse(given) {
      if (given === '') return undefined
      try {
        return readFileSync(given)
      } catch {
        throw new Error(`cannot read the file "${given}"`)
      }
    },
  }
}

const platforms = ['kserve', 'k8s', 'replicate', 'runpod', 'v2'] as const
type PlatformWord = (typeof platforms)[number]

const mlPlatform: Key<PlatformWord> = {
  standard: 'kserve',
  what: 'Where models without a line in the models file are served: kserve, k8s (or k8s-plugin), replicate, runpod, v2',
  parse(given) {
    const word = given === 'k8s-plugin' ? 'k8s' : platforms.find((candidate) => candidate === given)
    if (word === undefined) throw new Error(`"${given}" is not one of ${platforms.join(', ')}`)
    return word
  },
}

/** Every key. `docs/configuration.md` is checked against this table. */
export const keys = {
  ENVIRONMENT: text('development', 'development = readable logs; anything else = JSON lines'),
  LOG_LEVEL: oneOf('info', ['debug', 'info', 'warn', 'error', 'silent'], 'Least severity that is logged'),
  HTTP_SERVER_ADDRESS: address(
    '127.0.0.1:8000',
    'Where the API listens (the record service alone: 127.0.0.1:12000)',
  ),
  MAX_BODY_SIZE: size('10MiB', 'Largest request body; above it 413'),
  MAX_UPLOAD_SIZE: size('5GiB', 'Largest uploaded file'),
  SHUTDOWN_DELAY: duration(
    '2s',
    0,
    'After SIGTERM or SIGINT /ready is 503 and requests are served for this long',
  ),
  PERDURE_DATA_DIR: text('.perdure', 'Folder of the embedded store, files and embedded Temporal'),
  PERDURE_CACHE_DIR: text(
    '',
    'Folder for what was built or downloaded; empty = perdure in the user’s cache folder',
  ),
  DATABASE_URL: url('', ['postgres:', 'postgresql:'], 'PostgreSQL store; empty = SQLite in the data folder'),

  ML_PLATFORM: mlPlatform,
  PERDURE_MODELS: text('', 'Models file (YAML or JSON): model names to platforms; re-read on SIGHUP'),
  GATE: oneOf('off', ['off', 'warn', 'required'], 'Whether models without a valid blessing are served'),
  MODEL_NAME: text('', 'Label, and default filter of /delete_pending'),
  UPLOAD_S3_BUCKET: text('', 'S3 bucket for uploaded files; empty = the folder files in the data folder'),
  UPLOAD_S3_ENDPOINT: url('', ['http:', 'https:'], 'Address of an S3-compatible service; empty = AWS'),
  UPLOAD_S3_REGION: text('us-east-1', 'Its region; credentials come from the AWS environment'),
  UPLOAD_S3_PREFIX: text('', 'Put before every object name, such as perdure/'),
  UPLOAD_WEBHOOK_ADDRESS: peer('', 'host:port put into inputs.upload_webhook; empty = the API itself'),

  WORKER_CONCURRENCY: integer(
    '4',
    -1_000_000,
    100_000,
    'Platform calls at once per process; below 1 = number of CPUs',
  ),
  MAX_QUEUE_SIZE: integer('30', 1, 100_000_000, 'Most waiting async predictions; above it 429'),
  TASK_TYPE_NAME: text(
    'default',
    'Names the queue, so that deployments cannot take each other’s predictions',
  ),
  TASK_TIMEOUT: duration('320s', 1, 'Whole budget of a prediction from its start, all attempts and polls'),
  RECORD_RETENTION: duration('48h', 1, 'Terminal records are kept at least this long'),
  GENERATE_DEFAULT: oneOf('sse', ['sse', 'ndjson'], 'Framing of /v1/generate when Accept does not say'),

  TEMPORAL_ADDRESS: peer('localhost:7233', 'Temporal frontend; under npm start unset = embedded'),
  TEMPORAL_NAMESPACE: text('default', 'Temporal namespace'),
  TEMPORAL_TASK_QUEUE: text('', 'Task queue; empty = perdure-<TASK_TYPE_NAME>'),
  TEMPORAL_API_KEY: secret('', 'Temporal API key; implies TLS'),
  TEMPORAL_TLS: flag('false', 'Connect to Temporal with TLS'),
  TEMPORAL_TLS_CA: file('File of the CA certificate of Temporal; implies TLS'),
  TEMPORAL_TLS_CERT: file('File of our client certificate; implies TLS'),
  TEMPORAL_TLS_KEY: file('File of our client key; implies TLS'),
  TEMPORAL_TLS_SERVER_NAME: text('', 'Name that the certificate of Temporal must have'),
  TEMPORAL_CLI_PATH: text('', 'Temporal executable for npm start; empty = found or provided'),
  PERDURE_TEMPORAL_PORT: port('7233', 'Port of the embedded Temporal; 0 = any free one'),
  PERDURE_TEMPORAL_UI_PORT: port('8233', 'Port of the embedded Temporal’s UI; 0 = any free one'),
  PERDURE_MODEL_PORT: port('8080', 'Port of the model server; 0 = any free one'),

  V2_ADDRESS: peer('127.0.0.1:8080', 'V2 model server'),
  V2_REQUEST_TIMEOUT: duration('300s', 1, 'Longest one attempt may take'),
  V2_PROTOCOL: oneOf('mlrun', ['mlrun', 'oip'], 'mlrun, or oip = open inference protocol to the letter'),
  KSERVE_VERSION: text('0.10.2', 'Up to 0.10.2 streams with :generate, later with :predict'),
  KSERVE_ADDRESS: peer('0.0.0.0:8080', 'KServe ingress'),
  KSERVE_CUSTOM_DOMAIN: text('example.com', 'Last part of the Host header'),
  KSERVE_NAMESPACE: text('default', 'Middle part of the Host header'),
  KSERVE_REQUEST_TIMEOUT: duration('300s', 1, 'Longest one attempt may take'),
  KSERVE_PROTOCOL: oneOf('v1', ['v1', 'v2'], 'KServe V1, or v2 = open inference protocol'),
  K8SPLUGIN_ADDRESS: peer('0.0.0.0:8002', 'The k8s plugin'),
  K8SPLUGIN_REQUEST_TIMEOUT: duration('300s', 1, 'Longest one attempt may take'),
  REPLICATE_ADDRESS: url('https://api.replicate.com/v1/predictions', ['http:', 'https:'], 'Create address'),
  REPLICATE_APIKEY: secret('', 'Key; required for ML_PLATFORM=replicate'),
  REPLICATE_MODEL_ID: text(
    '22c920af07cfd46d7540374b367953829c68167c395448c8e2a39597480a2d09',
    'Model version',
  ),
  REPLICATE_REQUEST_TIMEOUT: duration('300s', 1, 'Longest one job may take'),
  RUNPOD_ADDRESS: url('https://api.runpod.ai/v2', ['http:', 'https:'], 'API base'),
  RUNPOD_APIKEY: secret('', 'Key; required for ML_PLATFORM=runpod'),
  RUNPOD_MODEL_ID: text('', 'Endpoint id; required for ML_PLATFORM=runpod'),
  RUNPOD_REQUEST_TIMEOUT: duration('300s', 1, 'Longest one job may take'),

  WEBHOOK_SERVER_ADDRESS: peer('', 'External record service that mirrors every record; empty = none'),
  WEBHOOK_APIKEY: secret('', 'Its key'),
  SECRET_APIKEY: secret('', 'Key that callers of our record service must send; empty = none'),
  WEBHOOK_SECRET: {
    standard: '',
    what: 'Signing secrets of user webhooks (whsec_…), the newest first; empty = made and kept in the data folder',
    parse(given: string): readonly Secret[] {
      return given
        .split(/\s+/)
        .filter(Boolean)
        .map((one) => {
          const bytes = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(one)?.[1]
          const length = bytes === undefined ? 0 : Buffer.from(bytes, 'base64').length
          if (length < 24 || length > 64)
            throw new Error('each secret is whsec_ and 24 to 64 bytes in base64')
          return new Secret(one)
        })
    },
  },
  WEBHOOK_ALLOW_HTTP: flag('false', 'User webhooks may be http'),
  WEBHOOK_ALLOW_CIDRS: list('', 'Address ranges user webhooks may reach beyond public ones', String),
  WEBHOOK_ALLOW_PORTS: list('', 'Ports user webhooks may use beyond 80 and 443', (word) => {
    const number = Number(word)
    if (!Number.isInteger(number) || number < 1 || number > 65_535) throw new Error(`"${word}" is not a port`)
    return number
  }),
  PERDURE_RUNNER_HOST: text('', 'Names the host of docker and process runners; required in containers'),
  DOCKER_HOST: text('', 'Engine of the docker runner; empty = unix:///var/run/docker.sock'),
  KUBECONFIG: text('', 'File of the kubernetes runner’s cluster; empty = the cluster the worker runs in'),

  PERDURE_URL: url('http://127.0.0.1:8000', ['http:', 'https:'], 'Where the perdure command finds the API'),

  REDIS_KEY_DURATION: duration('48h', 1, 'Old name of RECORD_RETENTION'),
  ENABLE_PERIODIC_CHECK: flag('false', 'Accepted without effect: nothing needs sweeping'),
} satisfies Record<string, Key<unknown>>

type Keys = typeof keys
type Value<K extends keyof Keys> = Keys[K] extends Key<infer T> ? T : never

/** Keys of the predecessor that mean nothing here. */
const goneKeys = ['REDIS_ADDRESS', 'REDIS_CLUSTER_MODE', 'USE_LOCAL_REDIS'] as const

interface Reader {
  <K extends keyof Keys>(key: K, standard?: string): Value<K>
  /** Set to anything but the empty text. */
  given(key: string): boolean
  fault(line: string): void
  warn(line: string): void
  /** Throws every fault at once. */
  done<T>(make: () => T): Readonly<T & { warnings: readonly string[] }>
}

/** Freezes plain objects and lists all the way down; buffers and secrets keep themselves. */
function frozen<T extends object>(value: T): Readonly<T> {
  for (const part of Object.values(value)) {
    if (typeof part === 'object' && part !== null && !(part instanceof Uint8Array)) frozen(part)
  }
  return Object.freeze(value)
}

function reader(env: Env): Reader {
  const faults: string[] = []
  const warnings: string[] = []
  const read = (key: keyof Keys, standard?: string): unknown => {
    const { parse, standard: fallback } = keys[key]
    const given = env[key]?.trim()
    try {
      return parse(given || (standard ?? fallback))
    } catch (error) {
      faults.push(`${key}: ${error instanceof Error ? error.message : String(error)}`)
      return parse(standard ?? fallback)
    }
  }
  const gone = goneKeys.filter((key) => env[key]?.trim())
  if (gone.length > 0)
    warnings.push(`${gone.join(', ')}: no longer used, predictions always survive a restart`)
  const extra = {
    given: (key: string) => Boolean(env[key]?.trim()),
    fault: (line: string) => void faults.push(line),
    warn: (line: string) => void warnings.push(line),
    done<T>(make: () => T) {
      if (faults.length > 0) throw new ConfigError([...new Set(faults)])
      return frozen({ ...make(), warnings: [...warnings] })
    },
  }
  return Object.assign(read as Reader, extra)
}

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

const loopback = /^(127\.\d+\.\d+\.\d+|::1|localhost)$/

function logging(read: Reader) {
  return { development: read('ENVIRONMENT') === 'development', logLevel: read('LOG_LEVEL') }
}

function listening(read: Reader, standard?: string) {
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

/** Where uploaded files lie. */
export type FileSettings =
  | { kind: 'folder'; dataDir: string }
  | { kind: 's3'; bucket: string; region: string; prefix: string; endpoint?: string }

function files(read: Reader, dataDir: string): FileSettings {
  const bucket = read('UPLOAD_S3_BUCKET')
  const endpoint = read('UPLOAD_S3_ENDPOINT')
  const s3 = { region: read('UPLOAD_S3_REGION'), prefix: read('UPLOAD_S3_PREFIX') }
  if (bucket === '') return { kind: 'folder', dataDir }
  return { kind: 's3', bucket, ...s3, ...(endpoint !== '' && { endpoint }) }
}

function store(read: Reader): {
  store: StoreSettings
  files: FileSettings
  retentionMs: number
  maxUploadBytes: number
} {
  const dataDir = resolve(read('PERDURE_DATA_DIR'))
  const database = read('DATABASE_URL')
  const old = read('REDIS_KEY_DURATION')
  return {
    store:
      database === ''
        ? { kind: 'sqlite', dataDir }
        : { kind: 'postgres', dataDir, url: new Secret(database) },
    files: files(read, dataDir),
    retentionMs: read.given('RECORD_RETENTION') ? read('RECORD_RETENTION') : old,
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

function temporal(read: Reader): TemporalSettings {
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

function platformSettings(read: Reader) {
  return {
    kserve: {
      platform: 'kserve' as const,
      address: read('KSERVE_ADDRESS'),
      customDomain: read('KSERVE_CUSTOM_DOMAIN'),
      namespace: read('KSERVE_NAMESPACE'),
      version: read('KSERVE_VERSION'),
      protocol: read('KSERVE_PROTOCOL'),
      timeoutMs: read('KSERVE_REQUEST_TIMEOUT'),
    },
    k8s: {
      platform: 'k8s' as const,
      address: read('K8SPLUGIN_ADDRESS'),
      timeoutMs: read('K8SPLUGIN_REQUEST_TIMEOUT'),
    },
    v2: {
      platform: 'v2' as const,
      address: read('V2_ADDRESS'),
      protocol: read('V2_PROTOCOL'),
      timeoutMs: read('V2_REQUEST_TIMEOUT'),
    },
    replicate: {
      platform: 'replicate' as const,
      address: read('REPLICATE_ADDRESS'),
      apiKey: read('REPLICATE_APIKEY'),
      modelId: read('REPLICATE_MODEL_ID'),
      timeoutMs: read('REPLICATE_REQUEST_TIMEOUT'),
    },
    runpod: {
      platform: 'runpod' as const,
      address: read('RUNPOD_ADDRESS'),
      apiKey: read('RUNPOD_APIKEY'),
      modelId: read('RUNPOD_MODEL_ID'),
      timeoutMs: read('RUNPOD_REQUEST_TIMEOUT'),
    },
  }
}

/** Settings of every platform by name; a models file may use several. */
export type AllPlatformSettings = Readonly<ReturnType<typeof platformSettings>>
/** Settings of one platform, told apart by `platform`. */
export type PlatformSettings = AllPlatformSettings[PlatformWord]

const timeoutKeys = {
  kserve: 'KSERVE_REQUEST_TIMEOUT',
  k8s: 'K8SPLUGIN_REQUEST_TIMEOUT',
  v2: 'V2_REQUEST_TIMEOUT',
  replicate: 'REPLICATE_REQUEST_TIMEOUT',
  runpod: 'RUNPOD_REQUEST_TIMEOUT',
} as const satisfies Record<PlatformWord, keyof Keys>

/** What a process needs to send predictions somewhere. */
function predictions(read: Reader, standardPlatform?: PlatformWord, standards: Env = {}) {
  const word = read('ML_PLATFORM', standardPlatform)
  const all = platformSettings(read)
  if (standards.V2_ADDRESS && !read.given('V2_ADDRESS')) all.v2.address = standards.V2_ADDRESS
  const chosen: PlatformSettings = all[word]
  const explicit = read.given('ML_PLATFORM')
  const modelsFile = read('PERDURE_MODELS')
  const taskTimeoutMs = read('TASK_TIMEOUT')
  const concurrency = read('WORKER_CONCURRENCY')
  if (taskTimeoutMs < chosen.timeoutMs) {
    read.fault(
      `TASK_TIMEOUT: ${taskTimeoutMs / 1000} s is shorter than ${timeoutKeys[word]} (${chosen.timeoutMs / 1000} s)`,
    )
  }
  if (word === 'replicate' || word === 'runpod') {
    const prefix = word.toUpperCase()
    if (!all[word].apiKey.given) read.fault(`${prefix}_APIKEY: required for ML_PLATFORM=${word}`)
    if (all[word].modelId === '') read.fault(`${prefix}_MODEL_ID: required for ML_PLATFORM=${word}`)
  }
  return {
    platform: chosen,
    /** With a models file, a name that it lacks goes to `platform` only if this is true. */
    platformExplicit: explicit,
    platforms: all as AllPlatformSettings,
    modelsFile: modelsFile === '' ? undefined : resolve(modelsFile),
    queue: read('TASK_TYPE_NAME'),
    taskTimeoutMs,
    concurrency: concurrency < 1 ? availableParallelism() : concurrency,
  }
}

/** As the scripts that run before any package is installed look for it (dev/cache.ts). */
function cache(read: Reader, env: Env): { cacheDir: string } {
  const given = read('PERDURE_CACHE_DIR')
  if (given !== '') return { cacheDir: resolve(given) }
  const caches = env.XDG_CACHE_HOME || join(env.HOME || homedir(), '.cache')
  return { cacheDir: resolve(caches, 'perdure') }
}

function mirror(read: Reader): { mirror: { address: string; apiKey: Secret } | undefined } {
  const to = read('WEBHOOK_SERVER_ADDRESS')
  const apiKey = read('WEBHOOK_APIKEY')
  return { mirror: to === '' ? undefined : { address: to, apiKey } }
}

function webhooks(read: Reader) {
  return {
    webhooks: {
      secrets: read('WEBHOOK_SECRET'),
      allowHttp: read('WEBHOOK_ALLOW_HTTP'),
      allowCidrs: read('WEBHOOK_ALLOW_CIDRS'),
      allowPorts: read('WEBHOOK_ALLOW_PORTS'),
    },
  }
}

function apiParts(read: Reader, platform?: PlatformWord, standards?: Env) {
  const at = listening(read)
  read('ENABLE_PERIODIC_CHECK')
  return {
    ...logging(read),
    ...at,
    ...store(read),
    temporal: temporal(read),
    ...predictions(read, platform, standards),
    ...mirror(read),
    ...webhooks(read),
    maxQueueSize: read('MAX_QUEUE_SIZE'),
    modelName: read('MODEL_NAME'),
    gate: read('GATE'),
    generateDefault: read('GENERATE_DEFAULT'),
    /** Empty = the address the API ends up listening on. */
    uploadWebhookAddress: read('UPLOAD_WEBHOOK_ADDRESS'),
    recordsApiKey: read('SECRET_APIKEY'),
  }
}

/** Settings of the API process. */
export function loadApi(env: Env = environment()) {
  const read = reader(env)
  const parts = apiParts(read)
  return read.done(() => parts)
}
export type ApiConfig = ReturnType<typeof loadApi>

/** What a served candidate inherits of the worker's environment. */
const passedOn = ['PATH', 'HOME', 'LANG', 'TMPDIR'] as const
const secretPrefix = 'PERDURE_SECRET_'

function runner(read: Reader, env: Env) {
  return {
    host: read('PERDURE_RUNNER_HOST') || hostname(),
    dockerHost: read('DOCKER_HOST'),
    kubeconfig: read('KUBECONFIG'),
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
    ...cache(read, env),
    shutdownDelayMs: read('SHUTDOWN_DELAY'),
    runner: runner(read, env),
  }
  return read.done(() => parts)
}
export type WorkerConfig = ReturnType<typeof loadWorker>

/** Settings of the record service when it runs alone. */
export function loadRecords(env: Env = environment()) {
  const read = reader(env)
  const parts = {
    ...logging(read),
    ...listening(read, '127.0.0.1:12000'),
    ...store(read),
    apiKey: read('SECRET_APIKEY'),
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
    runner: runner(read, env),
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
