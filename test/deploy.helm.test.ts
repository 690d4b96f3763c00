/** The Helm chart: rendered by Helm, and every object accepted by a real API server, unknown fields refused. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { beforeAll, expect, test, vi } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { z } from 'zod'
import { keys } from '../config.ts'
import { helmProgram, scaledObjectDefinition } from '../scripts/helm.mjs'
import { type KubernetesApi, kubernetes, startKubernetes } from './support/kubernetes.ts'
import { requirement } from './support/require.ts'

const chart = fileURLToPath(new URL('../deploy/helm/perdure', import.meta.url))
const helm = helmProgram()
const definition = scaledObjectDefinition()
const needsHelm = requirement(
  'helm',
  () => (helm !== undefined && definition !== undefined) || 'it is not built (node scripts/helm.mjs)',
)

const Rendered = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.looseObject({ name: z.string(), labels: z.record(z.string(), z.string()) }),
})
type Rendered = z.infer<typeof Rendered>

const Container = z.looseObject({
  name: z.string(),
  ports: z.array(z.object({ name: z.string(), containerPort: z.number() })).default([]),
  env: z.array(z.looseObject({ name: z.string() })).default([]),
  securityContext: z.unknown(),
  livenessProbe: z.unknown().optional(),
  readinessProbe: z.unknown().optional(),
})
const Pods = z.looseObject({
  replicas: z.number().optional(),
  selector: z.object({ matchLabels: z.record(z.string(), z.string()) }),
  template: z.looseObject({
    metadata: z.looseObject({
      labels: z.record(z.string(), z.string()),
      annotations: z.record(z.string(), z.string()).default({}),
    }),
    spec: z.looseObject({
      terminationGracePeriodSeconds: z.number().optional(),
      automountServiceAccountToken: z.boolean(),
      securityContext: z.unknown(),
      containers: z.array(Container),
    }),
  }),
})

const Monitor = z.object({
  selector: z.object({ matchLabels: z.record(z.string(), z.string()) }),
  podMetricsEndpoints: z.tuple([z.looseObject({ port: z.string(), relabelings: z.array(z.unknown()) })]),
})

const required = ['temporal.address=temporal:7233', 'secret.values.DATABASE_URL=postgres://u:p@db/perdure']
const everything = [
  ...['records.enabled=true', 'model.enabled=true', 'worker.keda.enabled=true'],
  ...['worker.kubernetesRunner=true', 'data.existingClaim=perdure'],
  ...['database.secret.name=perdure-app', 'migrate.enabled=true', 'temporal.tls.secret=temporal-client'],
  ...['models.iris.platform=v2', 'models.iris.address=iris:8080'],
  ...[
    'api.ingress.enabled=true',
    'api.ingress.host=perdure.example.com',
    'api.ingress.tlsSecret=perdure-tls',
  ],
]

/** What Helm makes of the chart. Throws what Helm says. */
function render(...values: string[]): Rendered[] {
  const settings = values.flatMap((value) => ['--set', value])
  const text = execFileSync(helm ?? '', ['template', 'p', chart, '--kube-version', '1.34.0', ...settings], {
    encoding: 'utf8',
    timeout: 60_000,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  return parseAllDocuments(text)
    .map((document): unknown => document.toJS())
    .filter((object) => object !== null)
    .map((object) => Rendered.parse(object))
}

const podsOf = (objects: Rendered[]) =>
  objects
    .filter(({ kind }) => kind === 'Deployment')
    .map(({ metadata, spec }): [string, z.infer<typeof Pods>] => [metadata.name, Pods.parse(spec)])

needsHelm.describe('the Helm chart', () => {
  test('refuses to be installed without Temporal and a database, and says which value lacks', () => {
    expect(() => render()).toThrow('temporal.address')
    expect(() => render('temporal.address=t:7233')).toThrow('secret.values.DATABASE_URL')
    expect(() => render('temporal.address=t:7233', 'secret.existing=mine')).not.toThrow()
    expect(() => render(...required, 'migrate.enabled=true')).toThrow('migrate.enabled')
    expect(() => render(...required, 'api.ingress.enabled=true')).toThrow('api.ingress.host')
  })

  test('by default runs two APIs and two workers and nothing else', () => {
    const objects = render(...required)
    expect(podsOf(objects).map(([name, { replicas }]) => [name, replicas])).toEqual([
      ['p-perdure-api', 2],
      ['p-perdure-worker', 2],
    ])
    expect(objects.filter(({ kind }) => /Role|ScaledObject/.test(kind))).toEqual([])
  })

  test('leaves the number of workers to KEDA where that scales them', () => {
    const worker = podsOf(render(...required, ...everything)).find(([name]) => name.endsWith('worker'))
    expect(worker?.[1].replicas).toBeUndefined()
  })

  test('every Pod is without root and privileges and says whether it is ready', () => {
    for (const [name, { template }] of podsOf(render(...required, ...everything))) {
      const { spec } = template
      expect(spec.securityContext, name).toMatchObject({ runAsNonRoot: true, runAsUser: 1000 })
      expect(spec.automountServiceAccountToken, name).toBe(name.endsWith('worker'))
      for (const container of spec.containers) {
        expect(container.securityContext).toMatchObject({
          readOnlyRootFilesystem: true,
          allowPrivilegeEscalation: false,
          capabilities: { drop: ['ALL'] },
        })
        expect(container.readinessProbe).toBeDefined()
        expect(container.livenessProbe === undefined, name).toBe(name.endsWith('worker'))
        for (const entry of container.env) expect(keys).toHaveProperty([entry.name])
      }
    }
  })

  test('the address of the database comes from a Secret of its own where one is named', () => {
    const source = { secretKeyRef: { name: 'perdure-app', key: 'uri' } }
    const objects = render('temporal.address=t:7233', 'database.secret.name=perdure-app')
    for (const [name, { template }] of podsOf(objects)) {
      const { env } = template.spec.containers[0]!
      expect(env, name).toContainEqual({ name: 'DATABASE_URL', valueFrom: source })
    }
    const mine = render('temporal.address=t:7233', 'secret.existing=mine')
    expect(mine.filter(({ kind }) => kind === 'Secret')).toEqual([])
  })

  test('every value is in the chart’s own page, and nothing else is', () => {
    const page = readFileSync(`${chart}/README.md`, 'utf8')
    const values: unknown = parse(readFileSync(`${chart}/values.yaml`, 'utf8'))
    const rows = page.split('\n').filter((line) => line.startsWith('| `'))
    const named = rows.flatMap((row) =>
      [...(row.split('|')[1] ?? '').matchAll(/`([^`]+)`/g)].map(([, name]) => name),
    )
    for (const name of named) {
      const value = (name ?? '')
        .split('.')
        .reduce<unknown>((object, key) => Reflect.get(Object(object), key), values)
      expect(value, name).not.toBeUndefined()
    }
    for (const path of leavesOf(values)) {
      expect(
        named.some((name) => path === name || path.startsWith(`${name}.`) || coveredBy(rows, path)),
        path,
      ).toBe(true)
    }
  })

  test('every process can be scraped: by annotations, or by monitors with the job names of the alert rules', () => {
    const objects = render(...required, 'records.enabled=true', 'podMonitor.enabled=true')
    const pods = podsOf(objects).map(([, { template }]) => template)
    const monitors = objects
      .filter(({ kind }) => kind === 'PodMonitor')
      .map(({ spec }) => Monitor.parse(spec))
    expect(monitors).toHaveLength(3)
    for (const { selector, podMetricsEndpoints } of monitors) {
      const [pod, ...others] = pods.filter(({ metadata: { labels } }) =>
        Object.entries(selector.matchLabels).every(([key, value]) => labels[key] === value),
      )
      expect(others).toEqual([])
      const component = selector.matchLabels['app.kubernetes.io/component']
      const [{ port, relabelings }] = podMetricsEndpoints
      expect(relabelings).toEqual([{ targetLabel: 'job', replacement: `perdure-${component}` }])
      const listening = pod?.spec.containers[0]?.ports.find(({ name }) => name === port)
      expect(pod?.metadata.annotations['prometheus.io/port']).toBe(String(listening?.containerPort))
    }
    const policies = JSON.stringify(objects.filter(({ kind }) => kind === 'NetworkPolicy'))
    expect(policies.split('9464')).toHaveLength(3)
  })

  test('calls may end before a Pod is killed', () => {
    const seconds = Number(keys.TASK_TIMEOUT.parse(keys.TASK_TIMEOUT.standard)) / 1_000
    for (const [name, { template }] of podsOf(render(...required))) {
      expect(template.spec.terminationGracePeriodSeconds, name).toBeGreaterThan(seconds)
    }
  })

  test('settings, selectors and services fit each other', () => {
    const objects = render(...required, ...everything)
    const pods = podsOf(objects).map(([, { selector, template }]) => {
      expect(template.metadata.labels).toMatchObject(selector.matchLabels)
      return template.metadata.labels
    })
    const Service = z.looseObject({ selector: z.record(z.string(), z.string()) })
    for (const { kind, metadata, spec } of objects) {
      if (kind !== 'Service') continue
      const { selector } = Service.parse(spec)
      expect(
        pods.filter((labels) => Object.entries(selector).every(([k, v]) => labels[k] === v)),
      ).toHaveLength(1)
      expect(metadata.name).toMatch(/^p-perdure-(?:api|records|model)$/)
    }
    const settings = objects.find(({ kind }) => kind === 'ConfigMap')
    const data = z.record(z.string(), z.string()).parse(settings?.data)
    for (const key of Object.keys(data)) expect(keys).toHaveProperty([key])
    expect(data).toMatchObject({
      TEMPORAL_ADDRESS: 'temporal:7233',
      V2_ADDRESS: 'p-perdure-model:8080',
      UPLOAD_WEBHOOK_ADDRESS: 'p-perdure-records:12000',
    })
  })
})

/** `records.replicas` is said in the row of `records.enabled`. */
function coveredBy(rows: string[], path: string): boolean {
  const [part = '', name = ''] = path.split('.')
  return rows.some((row) => row.startsWith(`| \`${part}.enabled\``) && row.includes(`\`${name}\``))
}

function leavesOf(values: unknown, path = ''): string[] {
  if (typeof values !== 'object' || values === null || Array.isArray(values)) return [path]
  const entries = Object.entries(values)
  if (entries.length === 0) return [path]
  return entries.flatMap(([key, value]) => leavesOf(value, path === '' ? key : `${path}.${key}`))
}

const both = needsHelm.available ? kubernetes : needsHelm

both.describe('the chart on a real API server', () => {
  let api: KubernetesApi
  beforeAll(async () => {
    api = await startKubernetes({ scheduler: false, nodes: {} })
    return () => api.stop()
  }, 120_000)

  const collections: Record<string, string> = {
    ConfigMap: '/api/v1/namespaces/default/configmaps',
    Secret: '/api/v1/namespaces/default/secrets',
    Service: '/api/v1/namespaces/default/services',
    ServiceAccount: '/api/v1/namespaces/default/serviceaccounts',
    Deployment: '/apis/apps/v1/namespaces/default/deployments',
    PodDisruptionBudget: '/apis/policy/v1/namespaces/default/poddisruptionbudgets',
    Ingress: '/apis/networking.k8s.io/v1/namespaces/default/ingresses',
    Job: '/apis/batch/v1/namespaces/default/jobs',
    NetworkPolicy: '/apis/networking.k8s.io/v1/namespaces/default/networkpolicies',
    Role: '/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles',
    RoleBinding: '/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings',
    ScaledObject: '/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects',
  }
  const dryRun = '?dryRun=All&fieldValidation=Strict'
  const accepts = async (object: Rendered) => {
    const path = collections[object.kind]
    expect(path, object.kind).toBeDefined()
    expect(await api.call('POST', `${path}${dryRun}`, object)).toMatchObject({ kind: object.kind })
  }

  test('every object is accepted as it is, with and without what is optional', async () => {
    for (const object of [...render(...required), ...render(...required, ...everything)]) {
      if (object.kind !== 'ScaledObject') await accepts(object)
    }
  }, 120_000)

  test('the ScaledObject fits the definition that KEDA brings', async () => {
    const custom: unknown = parse(readFileSync(definition ?? '', 'utf8'))
    await api.call('POST', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', custom)
    const [scaled] = render(...required, ...everything).filter(({ kind }) => kind === 'ScaledObject')
    await vi.waitFor(() => accepts(scaled!), { timeout: 60_000, interval: 250 })
  }, 120_000)

  test('is installed, upgraded and uninstalled', async () => {
    const run = (...args: string[]) =>
      execFileSync(helm ?? '', args, {
        encoding: 'utf8',
        env: { ...process.env, KUBECONFIG: api.kubeconfigPath },
        timeout: 60_000,
        stdio: ['ignore', 'pipe', 'pipe'],
      })
    const settings = ['--set', 'temporal.address=temporal:7233', '--set', 'secret.existing=perdure-secrets']
    const concurrency = async () => {
      const worker = Pods.parse(
        z
          .object({ spec: z.unknown() })
          .parse(await api.call('GET', `${collections.Deployment}/perdure-worker`)).spec,
      )
      return worker.template.spec.containers[0]?.env.find(({ name }) => name === 'WORKER_CONCURRENCY')
    }
    run('install', 'perdure', chart, ...settings)
    expect(await concurrency()).toMatchObject({ value: '4' })
    run('upgrade', 'perdure', chart, ...settings, '--set', 'worker.concurrency=16')
    expect(await concurrency()).toMatchObject({ value: '16' })
    run('uninstall', 'perdure')
    for (const kind of ['Deployment', 'Service', 'ConfigMap', 'NetworkPolicy', 'PodDisruptionBudget']) {
      const { items } = z
        .object({ items: z.array(z.object({ metadata: z.object({ name: z.string() }) })) })
        .parse(await api.call('GET', collections[kind] ?? ''))
      expect(items.filter(({ metadata }) => metadata.name.startsWith('perdure'))).toEqual([])
    }
  }, 180_000)
})
