/** The Helm chart as Helm renders it: what runs, with which rights, and that values, page and settings agree. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { keys } from '../config.ts'
import { chart, everything, needsHelm, podsOf, render, required } from './support/chart.ts'

const read = (name: string) => readFileSync(new URL(`../${name}`, import.meta.url), 'utf8')

const Monitor = z.object({
  selector: z.object({ matchLabels: z.record(z.string(), z.string()) }),
  podMetricsEndpoints: z.tuple([z.looseObject({ port: z.string(), relabelings: z.array(z.unknown()) })]),
})

needsHelm.describe('the Helm chart', () => {
  test('refuses to be installed without Temporal and a database, and says which value lacks', () => {
    expect(() => render()).toThrow('temporal.address')
    expect(() => render('temporal.address=t:7233')).toThrow('secret.values.DATABASE_URL')
    expect(() => render('temporal.address=t:7233', 'secret.existing=mine')).not.toThrow()
    expect(() => render(...required, 'migrate.enabled=true')).toThrow('migrate.enabled')
    expect(() => render(...required, 'api.ingress.enabled=true')).toThrow('api.ingress.host')
  })

  test('runs the version that the package and the compose file have', () => {
    const { version } = z.object({ version: z.string() }).parse(JSON.parse(read('package.json')))
    expect(parse(read('deploy/helm/perdure/Chart.yaml'))).toMatchObject({ version, appVersion: version })
    expect(read('docker-compose.yml')).toContain(`image: perdure:\${PERDURE_VERSION:-${version}}`)
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

  // H-01.
  test('uploaded files are a volume of APIs and record service, which workers neither mount nor need', () => {
    const claimsOf = (...values: string[]) =>
      podsOf(render(...required, 'records.enabled=true', ...values)).map(([name, { template }]) => {
        const { volumes, containers } = template.spec
        const claim = (volume: string) =>
          volumes.find((one) => one.name === volume)?.persistentVolumeClaim?.claimName
        const mounts = containers[0]!.volumeMounts.filter(({ mountPath }) => mountPath.startsWith('/data'))
        return [
          name,
          Object.fromEntries(mounts.map(({ mountPath, name: volume }) => [mountPath, claim(volume)])),
        ]
      })
    const own = ['data.existingClaim=data', 'uploads.existingClaim=uploads']
    expect(claimsOf(...own)).toEqual([
      ['p-perdure-api', { '/data': 'data', '/data/files': 'uploads' }],
      ['p-perdure-records', { '/data': 'data', '/data/files': 'uploads' }],
      ['p-perdure-worker', { '/data': 'data' }],
    ])
    expect(() => claimsOf('data.existingClaim=data')).toThrow('uploads.existingClaim')
    expect(() => claimsOf('data.existingClaim=data', 'settings.UPLOAD_S3_BUCKET=u')).not.toThrow()
    const worker = podsOf(render(...required)).find(([name]) => name.endsWith('worker'))
    expect(worker?.[1].template.spec.containers[0]?.env).toContainEqual({
      name: 'PERDURE_URL',
      value: 'http://p-perdure-api:8000',
    })
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
