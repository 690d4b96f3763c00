/** The table of every key: its default as a user would write it, and what it does. */
import {
  address,
  addressRange,
  duration,
  file,
  flag,
  integer,
  type Key,
  list,
  oneOf,
  optionalAddress,
  pairs,
  peer,
  port,
  secret,
  size,
  text,
  url,
} from './key-kinds.ts'
import { Secret } from './values.ts'

const platforms = ['kserve', 'k8s', 'replicate', 'runpod', 'v2'] as const
export type PlatformWord = (typeof platforms)[number]

const mlPlatform: Key<PlatformWord> = {
  standard: 'kserve',
  what: 'Where models without a line in the models file are served: kserve, k8s (or k8s-plugin), replicate, runpod, v2',
  parse(given) {
    const word = given === 'k8s-plugin' ? 'k8s' : platforms.find((candidate) => candidate === given)
    if (word === undefined) throw new Error(`"${given}" is not one of ${platforms.join(', ')}`)
    return word
  },
}

const fileHosts: Key<readonly string[]> = {
  standard: 'replicate.delivery',
  what: 'Hosts, with all names below them, whose files in an output are copied before they are deleted; none = they stay there',
  parse(given) {
    const hosts = given
      .toLowerCase()
      .split(/[\s,]+/)
      .filter(Boolean)
    const wrong = hosts.find((host) => !/^[a-z\d.-]+$/.test(host))
    if (wrong !== undefined) throw new Error(`"${wrong}" is not the name of a host`)
    return hosts.length === 1 && hosts[0] === 'none' ? [] : hosts
  },
}

export const runnerKinds = ['process', 'docker', 'kubernetes', 'endpoint'] as const
export type RunnerKind = (typeof runnerKinds)[number]

const runners: Key<readonly RunnerKind[] | undefined> = {
  standard: '',
  what: 'Platforms that validations may use: process, docker, kubernetes, endpoint, or none; empty = all while HTTP_SERVER_ADDRESS is loopback, else none',
  parse(given) {
    const words = given.split(/[\s,]+/).filter(Boolean)
    if (words.length === 0) return undefined
    if (words.length === 1 && words[0] === 'none') return []
    return words.map((word) => {
      const kind = runnerKinds.find((candidate) => candidate === word)
      if (kind === undefined) throw new Error(`"${word}" is not one of ${runnerKinds.join(', ')}`)
      return kind
    })
  },
}

/** Every key. `docs/configuration.md` is checked against this table. */
export const keys = {
  ENVIRONMENT: text(
    'development',
    'development = readable logs on a terminal; anything else, or no terminal = JSON lines',
  ),
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
  RECORD_RETENTION: duration(
    '48h',
    1,
    'Terminal records are kept at least this long; below 24h their idempotency keys end with them',
  ),
  PERDURE_OWNERSHIP_EVERY: duration(
    '1h',
    60_000,
    'How often it is checked that every open record has a live workflow, also at the start of each worker; at least 1m',
  ),
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
  REPLICATE_FILE_HOSTS: fileHosts,
  REPLICATE_REQUEST_TIMEOUT: duration('300s', 1, 'Longest one job may take'),
  RUNPOD_ADDRESS: url('https://api.runpod.ai/v2', ['http:', 'https:'], 'API base'),
  RUNPOD_APIKEY: secret('', 'Key; required for ML_PLATFORM=runpod'),
  RUNPOD_MODEL_ID: text('', 'Endpoint id; required for ML_PLATFORM=runpod'),
  RUNPOD_REQUEST_TIMEOUT: duration('300s', 1, 'Longest one job may take'),

  WEBHOOK_SERVER_ADDRESS: peer('', 'External record service that mirrors every record; empty = none'),
  WEBHOOK_APIKEY: secret('', 'Its key'),
  SECRET_APIKEY: secret(
    '',
    'Key that callers of our record service must send, the same on workers; empty = none',
  ),
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
  WEBHOOK_ALLOW_CIDRS: list('', 'Address ranges user webhooks may reach beyond public ones', addressRange),
  WEBHOOK_ALLOW_PORTS: list('', 'Ports user webhooks may use beyond 80 and 443', (word) => {
    const number = Number(word)
    if (!Number.isInteger(number) || number < 1 || number > 65_535) throw new Error(`"${word}" is not a port`)
    return number
  }),
  PERDURE_RUNNERS: runners,
  PERDURE_RUNNER_HOST: text('', 'Names the host of docker and process runners; required in containers'),
  PERDURE_RUNNER_WAIT: duration(
    '60s',
    1,
    'A host without a worker for this long is away: PLATFORM_UNAVAILABLE',
  ),
  DOCKER_HOST: text('', 'Engine of the docker runner; empty = unix:///var/run/docker.sock'),
  KUBECONFIG: text('', 'File of the kubernetes runner’s cluster; empty = the cluster the worker runs in'),
  KUBERNETES_CLUSTERS: pairs(
    'Clusters that validations may name, name=kubeconfig file,…; requests name no file',
    String,
  ),

  PERDURE_METRICS_ADDRESS: optionalAddress(
    'Where a worker, or the record service alone, answers /metrics, /live and /ready; empty = nowhere. The API has them on its own port',
  ),
  OTEL_EXPORTER_OTLP_ENDPOINT: url(
    '',
    ['http:', 'https:'],
    'Receiver of traces (OTLP over HTTP); /v1/traces is put behind it; empty = no traces',
  ),
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: url('', ['http:', 'https:'], 'The same with its whole path; it wins'),
  OTEL_EXPORTER_OTLP_PROTOCOL: oneOf(
    'http/protobuf',
    ['http/protobuf', 'http/json'],
    'Encoding of traces; gRPC is not spoken',
  ),
  OTEL_EXPORTER_OTLP_HEADERS: pairs('Headers for the receiver, name=value,…', (given) => new Secret(given)),
  OTEL_SERVICE_NAME: text(
    '',
    'Name in traces; empty = perdure-api, perdure-worker, perdure-records or perdure',
  ),
  OTEL_RESOURCE_ATTRIBUTES: pairs('More attributes of all spans, name=value,…', String),
  OTEL_TRACES_SAMPLER: oneOf(
    'parentbased_always_on',
    [
      'parentbased_always_on',
      'parentbased_always_off',
      'parentbased_traceidratio',
      'always_on',
      'always_off',
      'traceidratio',
    ],
    'Which traces are recorded',
  ),
  OTEL_TRACES_SAMPLER_ARG: {
    standard: '1',
    what: 'Part of the traces that traceidratio keeps, 0 to 1',
    parse(given: string): number {
      const ratio = Number(given)
      if (!(ratio >= 0 && ratio <= 1)) throw new Error(`"${given}" is not a number from 0 to 1`)
      return ratio
    },
  },
  OTEL_SDK_DISABLED: flag('false', 'No traces, whatever else is set'),

  PERDURE_URL: url(
    'http://127.0.0.1:8000',
    ['http:', 'https:'],
    'Where the perdure command finds the API, and a worker what keeps files: an API or our record service',
  ),

  REDIS_KEY_DURATION: duration('48h', 1, 'Old name of RECORD_RETENTION'),
  ENABLE_PERIODIC_CHECK: flag('false', 'Accepted without effect: nothing needs sweeping'),
} satisfies Record<string, Key<unknown>>

export type Keys = typeof keys
export type Value<K extends keyof Keys> = Keys[K] extends Key<infer T> ? T : never
