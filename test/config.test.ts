/** Settings: defaults, forms, faults all at once, and nothing secret in print. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { describe, expect, onTestFinished, test } from 'vitest'
import {
  ConfigError,
  type Env,
  environment,
  keys,
  loadApi,
  loadRecords,
  loadServe,
  loadStart,
  loadWorker,
  Secret,
} from '../config.ts'

function faultsOf(load: () => unknown): readonly string[] {
  try {
    load()
  } catch (error) {
    if (error instanceof ConfigError) return error.faults
    throw error
  }
  throw new Error('no fault was found')
}

describe('defaults', () => {
  test('an empty environment is enough for every process', () => {
    for (const load of [loadApi, loadWorker, loadRecords, loadServe, loadStart]) {
      expect(load({}).warnings).toEqual([])
    }
  })

  test('the API listens on loopback, stores in .perdure, and sends everything to kserve', () => {
    const api = loadApi({})
    expect(api).toMatchObject({
      development: true,
      address: { host: '127.0.0.1', port: 8000 },
      maxBodyBytes: 10 * 2 ** 20,
      maxUploadBytes: 5 * 2 ** 30,
      shutdownDelayMs: 2_000,
      store: { kind: 'sqlite' },
      queue: 'default',
      maxQueueSize: 30,
      taskTimeoutMs: 320_000,
      retentionMs: 48 * 3_600_000,
      concurrency: 4,
      gate: 'off',
      platformExplicit: false,
      platform: {
        platform: 'kserve',
        address: '0.0.0.0:8080',
        customDomain: 'example.com',
        namespace: 'default',
        version: '0.10.2',
        protocol: 'v1',
        timeoutMs: 300_000,
      },
      temporal: {
        address: 'localhost:7233',
        namespace: 'default',
        taskQueue: 'perdure-default',
        tls: false,
      },
      mirror: undefined,
    })
    expect(api.store.dataDir).toBe(join(process.cwd(), '.perdure'))
  })

  test('the record service alone has a port of its own', () => {
    expect(loadRecords({}).address).toEqual({ host: '127.0.0.1', port: 12_000 })
  })

  test('npm start sends everything to its own model server and brings Temporal along', () => {
    expect(loadStart({})).toMatchObject({
      platform: { platform: 'v2', address: '127.0.0.1:8080' },
      embeddedTemporal: { port: 7233, uiPort: 8233 },
      modelPort: 8080,
    })
    expect(loadStart({ PERDURE_MODEL_PORT: '9999' }).platform).toMatchObject({ address: '127.0.0.1:9999' })
    expect(loadStart({ TEMPORAL_ADDRESS: 'temporal:7233' })).toMatchObject({
      embeddedTemporal: undefined,
      temporal: { address: 'temporal:7233' },
    })
    expect(loadStart({ ML_PLATFORM: 'k8s' })).toMatchObject({
      platform: { platform: 'k8s' },
      platformExplicit: true,
    })
  })
})

describe('forms', () => {
  test.each([
    ['320', 320_000],
    ['320s', 320_000],
    ['6m', 360_000],
    ['48h', 172_800_000],
    ['300500ms', 300_500],
  ])('TASK_TIMEOUT=%s is %d ms', (text, ms) => {
    expect(loadApi({ TASK_TIMEOUT: text }).taskTimeoutMs).toBe(ms)
  })

  test.each([
    ['1048576', 1_048_576],
    ['10MiB', 10_485_760],
    ['20MB', 20_000_000],
    ['1.5KiB', 1_536],
  ])('MAX_BODY_SIZE=%s is %d bytes', (text, bytes) => {
    expect(loadApi({ MAX_BODY_SIZE: text }).maxBodyBytes).toBe(bytes)
  })

  test.each([
    ['0.0.0.0:8000', { host: '0.0.0.0', port: 8000 }],
    [':8000', { host: '0.0.0.0', port: 8000 }],
    ['[::1]:0', { host: '::1', port: 0 }],
    ['localhost:80', { host: 'localhost', port: 80 }],
  ])('HTTP_SERVER_ADDRESS=%s', (text, address) => {
    expect(loadApi({ HTTP_SERVER_ADDRESS: text }).address).toEqual(address)
  })

  test('WORKER_CONCURRENCY below 1 is the number of CPUs', () => {
    expect(loadWorker({ WORKER_CONCURRENCY: '0' }).concurrency).toBe(availableParallelism())
    expect(loadWorker({ WORKER_CONCURRENCY: '-3' }).concurrency).toBe(availableParallelism())
    expect(loadWorker({ WORKER_CONCURRENCY: '64' }).concurrency).toBe(64)
  })

  test('k8s-plugin is k8s, as inherited', () => {
    expect(loadApi({ ML_PLATFORM: 'k8s-plugin' }).platform).toEqual({
      platform: 'k8s',
      address: '0.0.0.0:8002',
      timeoutMs: 300_000,
    })
  })

  test('DATABASE_URL chooses PostgreSQL and is a secret', () => {
    const { store } = loadApi({ DATABASE_URL: 'postgres://me:hunter2@db/perdure' })
    expect(store.kind).toBe('postgres')
    expect(JSON.stringify(store)).not.toContain('hunter2')
    expect(store.kind === 'postgres' && store.url.reveal()).toBe('postgres://me:hunter2@db/perdure')
  })

  test('TASK_TYPE_NAME names the task queue unless TEMPORAL_TASK_QUEUE does', () => {
    expect(loadApi({ TASK_TYPE_NAME: 'blue' })).toMatchObject({
      queue: 'blue',
      temporal: { taskQueue: 'perdure-blue' },
    })
    expect(loadApi({ TEMPORAL_TASK_QUEUE: 'mine' }).temporal.taskQueue).toBe('mine')
  })

  test('PERDURE_OWNERSHIP_EVERY is an hour unless said, and a minute at least', () => {
    expect(loadWorker({}).ownershipEveryMs).toBe(3_600_000)
    expect(loadWorker({ PERDURE_OWNERSHIP_EVERY: '1m' }).ownershipEveryMs).toBe(60_000)
    expect(() => loadWorker({ PERDURE_OWNERSHIP_EVERY: '59s' })).toThrow('PERDURE_OWNERSHIP_EVERY')
  })

  test('RECORD_RETENTION wins over its old name', () => {
    expect(loadApi({ REDIS_KEY_DURATION: '1h' }).retentionMs).toBe(3_600_000)
    expect(loadApi({ REDIS_KEY_DURATION: '1h', RECORD_RETENTION: '2h' }).retentionMs).toBe(7_200_000)
  })

  test('an empty value is an absent one', () => {
    expect(loadApi({ MAX_QUEUE_SIZE: '', TASK_TIMEOUT: ' ', ML_PLATFORM: '' })).toMatchObject({
      maxQueueSize: 30,
      taskTimeoutMs: 320_000,
      platformExplicit: false,
    })
  })

  test('webhook secrets rotate, ports and ranges are lists', () => {
    const [one, two] = [24, 32].map((n) => `whsec_${Buffer.alloc(n, n).toString('base64')}`)
    const { webhooks } = loadWorker({
      WEBHOOK_SECRET: `${one} ${two}`,
      WEBHOOK_ALLOW_PORTS: '8080, 9090',
      WEBHOOK_ALLOW_CIDRS: '10.0.0.0/8 fd00::/8',
      WEBHOOK_ALLOW_HTTP: 'true',
    })
    expect(webhooks.secrets.map((each) => each.reveal())).toEqual([one, two])
    expect(webhooks).toMatchObject({
      allowHttp: true,
      allowPorts: [8080, 9090],
      allowCidrs: ['10.0.0.0/8', 'fd00::/8'],
    })
  })
})

describe('Temporal', () => {
  test('an API key implies TLS', () => {
    const { temporal } = loadWorker({ TEMPORAL_API_KEY: 'hunter2' })
    expect(temporal.tls).toEqual({})
    expect(temporal.apiKey.reveal()).toBe('hunter2')
    expect(inspect(temporal)).not.toContain('hunter2')
  })

  test('certificates are read at start; a pair is whole or a fault', () => {
    const folder = mkdtempSync(join(tmpdir(), 'perdure-config-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    const file = join(folder, 'cert.pem')
    writeFileSync(file, 'PEM')
    const { temporal } = loadApi({
      TEMPORAL_TLS_CA: file,
      TEMPORAL_TLS_CERT: file,
      TEMPORAL_TLS_KEY: file,
      TEMPORAL_TLS_SERVER_NAME: 'temporal.test',
    })
    expect(temporal.tls).toEqual({
      serverNameOverride: 'temporal.test',
      serverRootCACertificate: Buffer.from('PEM'),
      clientCertPair: { crt: Buffer.from('PEM'), key: Buffer.from('PEM') },
    })
    expect(faultsOf(() => loadApi({ TEMPORAL_TLS_CERT: file }))).toEqual([
      'TEMPORAL_TLS_KEY: required with TEMPORAL_TLS_CERT',
    ])
    expect(faultsOf(() => loadApi({ TEMPORAL_TLS_CA: join(folder, 'none') }))[0]).toMatch(
      /^TEMPORAL_TLS_CA: cannot read the file/,
    )
  })
})

describe('faults', () => {
  test('all of them come at once, each naming its key', () => {
    const faults = faultsOf(() =>
      loadApi({
        MAX_QUEUE_SIZE: '0',
        WORKER_CONCURRENCY: 'many',
        TASK_TIMEOUT: 'soon',
        ML_PLATFORM: 'sagemaker',
        HTTP_SERVER_ADDRESS: 'here',
        MAX_BODY_SIZE: '10 lots',
        GATE: 'maybe',
        WEBHOOK_ALLOW_HTTP: 'perhaps',
        WEBHOOK_SECRET: 'whsec_short',
        DATABASE_URL: 'mysql://x',
      }),
    )
    expect(faults.map((line) => line.split(':', 1)[0]).sort()).toEqual([
      'DATABASE_URL',
      'GATE',
      'HTTP_SERVER_ADDRESS',
      'MAX_BODY_SIZE',
      'MAX_QUEUE_SIZE',
      'ML_PLATFORM',
      'TASK_TIMEOUT',
      'WEBHOOK_ALLOW_HTTP',
      'WEBHOOK_SECRET',
      'WORKER_CONCURRENCY',
    ])
    for (const line of faults) expect(line).not.toContain('\n')
  })

  test('TASK_TIMEOUT must cover the timeout of the chosen platform, not of the others', () => {
    expect(faultsOf(() => loadApi({ TASK_TIMEOUT: '60' }))).toEqual([
      'TASK_TIMEOUT: 60 s is shorter than KSERVE_REQUEST_TIMEOUT (300 s)',
    ])
    expect(loadApi({ TASK_TIMEOUT: '60', KSERVE_REQUEST_TIMEOUT: '60' }).taskTimeoutMs).toBe(60_000)
    expect(loadApi({ TASK_TIMEOUT: '320', RUNPOD_REQUEST_TIMEOUT: '9000' }).taskTimeoutMs).toBe(320_000)
  })

  test('replicate and runpod need their key and model, and only they', () => {
    expect(faultsOf(() => loadApi({ ML_PLATFORM: 'replicate' }))).toEqual([
      'REPLICATE_APIKEY: required for ML_PLATFORM=replicate',
    ])
    expect(faultsOf(() => loadApi({ ML_PLATFORM: 'runpod' }))).toEqual([
      'RUNPOD_APIKEY: required for ML_PLATFORM=runpod',
      'RUNPOD_MODEL_ID: required for ML_PLATFORM=runpod',
    ])
    expect(
      loadApi({ ML_PLATFORM: 'runpod', RUNPOD_APIKEY: 'k', RUNPOD_MODEL_ID: 'm' }).platform.platform,
    ).toBe('runpod')
  })

  test('a secret is never part of a fault', () => {
    const [fault] = faultsOf(() => loadApi({ DATABASE_URL: 'mysql://me:hunter2@db' }))
    expect(fault).not.toContain('hunter2')
  })
})

describe('secrets', () => {
  test('print as *** in strings, JSON and inspection', () => {
    const api = loadApi({
      WEBHOOK_SERVER_ADDRESS: 'a:1',
      WEBHOOK_APIKEY: 'hunter2',
      REPLICATE_APIKEY: 'hunter2',
    })
    expect(api.mirror?.apiKey.reveal()).toBe('hunter2')
    expect(`${api.mirror?.apiKey}`).toBe('***')
    expect(JSON.stringify(api)).not.toContain('hunter2')
    expect(inspect(api, { depth: 9, showHidden: true })).not.toContain('hunter2')
    expect(inspect(new Secret('hunter2'))).toBe('***')
  })

  test('settings cannot be changed', () => {
    const api = loadApi({})
    expect(Object.isFrozen(api)).toBe(true)
    expect(Object.isFrozen(api.platform)).toBe(true)
    expect(Object.isFrozen(api.address)).toBe(true)
    expect(Object.isFrozen(api.temporal)).toBe(true)
  })
})

describe('warnings', () => {
  test('a retention that ends idempotency keys early is one warning', () => {
    const warned = (env: Env) => loadApi(env).warnings.filter((line) => line.includes('idempotency keys'))
    expect(warned({ RECORD_RETENTION: '23h' })).toEqual([
      expect.stringMatching(/^RECORD_RETENTION: below 24h/),
    ])
    expect(warned({ REDIS_KEY_DURATION: '1h' })).toEqual([expect.stringMatching(/^REDIS_KEY_DURATION: /)])
    expect(warned({ RECORD_RETENTION: '24h' })).toEqual([])
  })

  test('old Redis keys are one warning together', () => {
    const { warnings } = loadApi({
      REDIS_ADDRESS: 'x:1',
      USE_LOCAL_REDIS: 'true',
      REDIS_CLUSTER_MODE: 'false',
    })
    expect(warnings).toHaveLength(1)
    expect(warnings[0]).toMatch(/REDIS_ADDRESS, REDIS_CLUSTER_MODE, USE_LOCAL_REDIS/)
  })

  test('runners: all while only this machine reaches the API, none beyond it that nobody has named', () => {
    const open = { HTTP_SERVER_ADDRESS: '0.0.0.0:8000' }
    const all = ['process', 'docker', 'kubernetes', 'endpoint']
    expect(loadStart({}).runner).toMatchObject({ kinds: all, named: false, waitMs: 60_000 })
    expect(loadApi({}).runners).toEqual({ kinds: all, named: false })
    expect(loadApi(open).runners.kinds).toEqual([])
    expect(loadWorker(open).runner.kinds).toEqual([])
    const named = loadStart({ ...open, PERDURE_RUNNERS: 'kubernetes, endpoint' })
    expect(named.runners).toEqual({ kinds: ['kubernetes', 'endpoint'], named: true })
    expect(named.runner).toMatchObject(named.runners)
    expect(named.warnings.filter((line) => line.startsWith('PERDURE_RUNNERS'))).toEqual([
      'PERDURE_RUNNERS: whoever reaches the API may run what they like through kubernetes and endpoint',
    ])
    expect(loadWorker({ PERDURE_RUNNERS: 'none' }).runner).toMatchObject({ kinds: [], named: true })
    expect(() => loadWorker({ PERDURE_RUNNERS: 'process,podman' })).toThrow(
      'PERDURE_RUNNERS: "podman" is not one of process, docker, kubernetes, endpoint',
    )
  })

  test('listening beyond loopback is said', () => {
    expect(loadApi({ HTTP_SERVER_ADDRESS: '0.0.0.0:8000' }).warnings[0]).toMatch(
      /^HTTP_SERVER_ADDRESS: 0\.0\.0\.0/,
    )
    expect(loadApi({ HTTP_SERVER_ADDRESS: '[::1]:8000' }).warnings).toEqual([])
  })

  test('a record service beyond loopback without a key is said, alone and beside the API', () => {
    const open = { HTTP_SERVER_ADDRESS: '0.0.0.0:12000' }
    for (const load of [loadApi, loadRecords, loadStart]) {
      const said = (env: Record<string, string>) =>
        load(env).warnings.filter((line) => line.startsWith('SECRET_APIKEY: not set'))
      expect(said(open)).toEqual([expect.stringContaining('PUT /task')])
      expect(said({ ...open, SECRET_APIKEY: 'k' })).toEqual([])
      expect(said({})).toEqual([])
    }
  })

  test('a shared database without a shared webhook secret is said', () => {
    const shared = { DATABASE_URL: 'postgres://u:p@db/x' }
    for (const load of [loadApi, loadWorker, loadStart]) {
      const said = (env: Record<string, string>) =>
        load(env).warnings.filter((line) => line.startsWith('WEBHOOK_SECRET'))
      expect(said(shared)).toEqual([expect.stringContaining('a secret of its own')])
      expect(said({ ...shared, WEBHOOK_SECRET: `whsec_${'a'.repeat(32)}` })).toEqual([])
      expect(said({})).toEqual([])
    }
  })
})

/** The keys of the predecessor's own file with its defaults (prediction-agent specification, section 6). */
const predecessorFile = `
ENVIRONMENT=development
HTTP_SERVER_ADDRESS=0.0.0.0:8000
REDIS_ADDRESS=0.0.0.0:6379
REDIS_CLUSTER_MODE=false
USE_LOCAL_REDIS=false
SHUTDOWN_DELAY=2
ENABLE_PERIODIC_CHECK=false
ML_PLATFORM=kserve
UPLOAD_WEBHOOK_ADDRESS=0.0.0.0:12000
WORKER_CONCURRENCY=4
MAX_QUEUE_SIZE=30
TASK_TYPE_NAME=default
TASK_TIMEOUT=320s
MODEL_NAME=
WEBHOOK_SERVER_ADDRESS=0.0.0.0:12000
WEBHOOK_APIKEY=123456789
KSERVE_VERSION=0.10.2
KSERVE_ADDRESS=0.0.0.0:8080
KSERVE_CUSTOM_DOMAIN=example.com
KSERVE_NAMESPACE=default
KSERVE_REQUEST_TIMEOUT=300s
REPLICATE_ADDRESS=https://api.replicate.com/v1/predictions
REPLICATE_APIKEY=
REPLICATE_MODEL_ID=22c920af07cfd46d7540374b367953829c68167c395448c8e2a39597480a2d09
REPLICATE_REQUEST_TIMEOUT=300s
RUNPOD_ADDRESS=https://api.runpod.ai/v2
RUNPOD_APIKEY=
RUNPOD_MODEL_ID=
RUNPOD_REQUEST_TIMEOUT=300s
K8SPLUGIN_ADDRESS=0.0.0.0:8002
K8SPLUGIN_REQUEST_TIMEOUT=300s
`

describe('app.env', () => {
  function folderWith(content: string): string {
    const folder = mkdtempSync(join(tmpdir(), 'perdure-config-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    writeFileSync(join(folder, 'app.env'), content)
    return folder
  }

  test('the predecessor’s own file starts every process', () => {
    const env = environment(folderWith(predecessorFile))
    const api = loadApi(env)
    expect(api).toMatchObject({
      address: { host: '0.0.0.0', port: 8000 },
      shutdownDelayMs: 2_000,
      uploadWebhookAddress: '0.0.0.0:12000',
      mirror: { address: '0.0.0.0:12000' },
      platformExplicit: true,
      platform: { platform: 'kserve' },
    })
    expect(api.warnings).toHaveLength(3)
    expect(loadWorker(env).taskTimeoutMs).toBe(320_000)
  })

  test('the environment always wins, and keys that the file lacks count too', () => {
    const folder = folderWith('MAX_QUEUE_SIZE=7\nTASK_TYPE_NAME="from the file"\n')
    const before = { ...process.env }
    onTestFinished(() => {
      process.env = before
    })
    process.env.MAX_QUEUE_SIZE = '8'
    process.env.GATE = 'warn'
    expect(loadApi(environment(folder))).toMatchObject({
      maxQueueSize: 8,
      queue: 'from the file',
      gate: 'warn',
    })
  })

  test('is optional', () => {
    const folder = mkdtempSync(join(tmpdir(), 'perdure-config-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    expect(() => environment(folder)).not.toThrow()
  })
})

describe('observability', () => {
  test('is off unless it is asked for', () => {
    expect(loadWorker({})).toMatchObject({ tracing: undefined, metricsAddress: undefined })
    expect(loadApi({}).tracing).toBeUndefined()
    const off = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318', OTEL_SDK_DISABLED: 'true' }
    expect(loadApi(off).tracing).toBeUndefined()
  })

  test("takes OpenTelemetry's own keys", () => {
    const { tracing, metricsAddress } = loadWorker({
      PERDURE_METRICS_ADDRESS: '0.0.0.0:9464',
      OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318/',
      OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20t0ken, x-scope = a=b',
      OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=prod,service.name=other',
      OTEL_SERVICE_NAME: 'mine',
      OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
      OTEL_TRACES_SAMPLER_ARG: '0.25',
    })
    expect(metricsAddress).toEqual({ host: '0.0.0.0', port: 9464 })
    expect(tracing).toMatchObject({
      url: 'http://collector:4318/v1/traces',
      protocol: 'http/protobuf',
      resource: { 'deployment.environment.name': 'prod', 'service.name': 'mine' },
      sampler: 'parentbased_traceidratio',
      ratio: 0.25,
    })
    expect(tracing?.headers.map(({ name, value }) => [name, value.reveal()])).toEqual([
      ['authorization', 'Bearer t0ken'],
      ['x-scope', 'a=b'],
    ])
    expect(JSON.stringify(tracing)).not.toContain('t0ken')
    const exact = loadApi({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'https://traces.example.com/otlp' })
    expect(exact.tracing?.url).toBe('https://traces.example.com/otlp')
  })

  test('names what is wrong with each key', () => {
    const faults = faultsOf(() =>
      loadWorker({
        PERDURE_METRICS_ADDRESS: '9464',
        OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4317',
        OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
        OTEL_EXPORTER_OTLP_HEADERS: 's3cret',
        OTEL_TRACES_SAMPLER_ARG: '2',
      }),
    )
    expect(faults.map((fault) => fault.split(':')[0])).toEqual([
      'OTEL_EXPORTER_OTLP_ENDPOINT',
      'OTEL_EXPORTER_OTLP_PROTOCOL',
      'OTEL_EXPORTER_OTLP_HEADERS',
      'OTEL_TRACES_SAMPLER_ARG',
      'PERDURE_METRICS_ADDRESS',
    ])
    expect(faults.join()).not.toContain('s3cret')
  })
})

test('every key is documented with its default', () => {
  const page = readFileSync(new URL('../docs/configuration.md', import.meta.url), 'utf8')
  const rows = new Map(
    [...page.matchAll(/^\| `([A-Z0-9_]+)` +\| +(.*?) *\| +(.*?) *\|$/gm)].map(([, key, standard, what]) => [
      key,
      { standard, what },
    ]),
  )
  for (const [key, { standard, what }] of Object.entries(keys)) {
    expect(rows.get(key), key).toEqual({ standard: standard === '' ? '' : `\`${standard}\``, what })
  }
  expect([...rows.keys()].filter((key) => !Object.hasOwn(keys, key ?? ''))).toEqual([])
})

test('a process without any setting of another still starts: keys of one platform do not hinder another', () => {
  const env: Env = { ML_PLATFORM: 'v2', RUNPOD_APIKEY: '', REPLICATE_MODEL_ID: '' }
  expect(loadApi(env).platform).toMatchObject({
    platform: 'v2',
    address: '127.0.0.1:8080',
    protocol: 'mlrun',
  })
})

describe('addresses that webhooks may reach', () => {
  test.each([
    ['WEBHOOK_ALLOW_CIDRS', '10.0.0.0'],
    ['WEBHOOK_ALLOW_CIDRS', '10.0.0.0/33'],
    ['WEBHOOK_ALLOW_CIDRS', '10.1.0.0/16, internal/8'],
    ['WEBHOOK_ALLOW_CIDRS', 'fd00::/129'],
    ['WEBHOOK_ALLOW_CIDRS', '300.0.0.0/8'],
    ['WEBHOOK_ALLOW_PORTS', '0'],
    ['WEBHOOK_ALLOW_PORTS', '8080, http'],
    ['WEBHOOK_ALLOW_PORTS', '65536'],
  ])('%s=%s is a fault that names the key', (key, given) => {
    for (const load of [loadApi, loadWorker, loadStart]) {
      expect(() => load({ [key]: given })).toThrow(ConfigError)
      expect(() => load({ [key]: given })).toThrow(`${key}: `)
    }
  })
})
