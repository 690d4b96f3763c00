/** docker-compose.yml: what its services promise on paper. test/deploy.up.test.ts starts it. */
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { keys } from '../config.ts'
import { versions } from '../scripts/compose.mjs'
import { ownServices } from './support/compose.ts'

const root = fileURLToPath(new URL('../', import.meta.url))

const Service = z.object({
  image: z.string(),
  build: z.string().optional(),
  command: z.array(z.string()).optional(),
  environment: z.record(z.string(), z.string()).default({}),
  ports: z.array(z.string()).default([]),
  volumes: z.array(z.string()).default([]),
  depends_on: z.record(z.string(), z.object({ condition: z.string() })).default({}),
  healthcheck: z.object({ test: z.array(z.string()) }).optional(),
  restart: z.string().optional(),
  read_only: z.boolean().optional(),
  cap_drop: z.array(z.string()).optional(),
  security_opt: z.array(z.string()).optional(),
  tmpfs: z.array(z.string()).default([]),
  stop_grace_period: z.string().optional(),
})

const file = z
  .object({ services: z.record(z.string(), Service), volumes: z.record(z.string(), z.null()) })
  .parse(parse(readFileSync(`${root}docker-compose.yml`, 'utf8'), { merge: true }))
const services = Object.entries(file.services)
const ours = services.filter(([name]) => ownServices().includes(name))
const endsByItself = (name: string) => file.services[name]?.restart === 'on-failure'

describe('the compose file', () => {
  test('has what a production set-up needs, two workers among it', () => {
    expect(services.map(([name]) => name).toSorted()).toEqual(
      [
        ...['api', 'worker-1', 'worker-2', 'records', 'model', 'postgres', 'prometheus', 'grafana'],
        ...['temporal', 'temporal-schema', 'temporal-namespace', 'temporal-ui'],
      ].toSorted(),
    )
  })

  test.each(services)('%s: its image is pinned to a version', (_, { image }) => {
    expect(image).toMatch(/:(?:v?\d+\.\d+(?:\.\d+)?(?:-\w+)?|\$\{PERDURE_VERSION:-\d+\.\d+\.\d+\})$/)
  })

  test.each(services)('%s: says whether it is healthy, or ends by itself', (name, { healthcheck }) => {
    expect(healthcheck === undefined).toBe(endsByItself(name))
  })

  test.each(services)('%s: waits for what it needs, in a way that can come true', (name, service) => {
    for (const [other, { condition }] of Object.entries(service.depends_on)) {
      expect(file.services).toHaveProperty([other])
      if (endsByItself(other)) expect(condition).toBe('service_completed_successfully')
      else if (condition === 'service_healthy') expect(file.services[other]?.healthcheck).toBeDefined()
      expect(needs(other), `${other} must not wait for ${name}`).not.toContain(name)
    }
  })

  test.each(services)('%s: its files are in the repository, its volumes are declared', (_, { volumes }) => {
    for (const volume of volumes) {
      const [source = ''] = volume.split(':')
      if (source.startsWith('./')) expect(existsSync(`${root}${source}`), source).toBe(true)
      else expect(file.volumes).toHaveProperty([source])
    }
  })

  test.each(services)(
    '%s: is published on loopback only, where the operations guide says',
    (name, { ports }) => {
      const guide = readFileSync(`${root}docs/operations.md`, 'utf8')
      for (const port of ports) {
        const [, key, published] = /^127\.0\.0\.1:\$\{(\w+_PORT):-(\d+)\}:\d+$/.exec(port) ?? []
        expect(guide, port).toMatch(new RegExp(`\\| *\`${published}\` *\\| *\`${key}\` *\\|.*\`${name}\``))
      }
    },
  )

  test.each(ours)('%s: only keys that Perdure knows, a read-only root, no privileges', (_, service) => {
    for (const key of Object.keys(service.environment)) expect(keys).toHaveProperty([key])
    expect(service).toMatchObject({ read_only: true, cap_drop: ['ALL'], tmpfs: ['/tmp'] })
    expect(service.security_opt).toContain('no-new-privileges:true')
  })

  test('the API and the workers may finish what runs before they are killed', () => {
    const seconds = Number(keys.TASK_TIMEOUT.parse(keys.TASK_TIMEOUT.standard)) / 1_000
    for (const name of ['api', 'worker-1', 'worker-2']) {
      expect(Number.parseInt(file.services[name]?.stop_grace_period ?? '0', 10)).toBeGreaterThan(seconds)
    }
  })

  test('one service alone builds our image: side by side they would get in each other’s way', () => {
    expect(ours.length).toBeGreaterThan(1)
    expect(ours.filter(([, { build }]) => build !== undefined)).toHaveLength(1)
  })

  test('the web interface is the version that the tests run', () => {
    expect(file.services['temporal-ui']?.image).toBe(`temporalio/ui:${versions.ui.slice(1)}`)
  })

  // H-01.
  test('uploaded files are a volume of API and record service alone; workers send theirs there', () => {
    const mounting = (what: (volume: string) => boolean) =>
      services.flatMap(([name, { volumes }]) => (volumes.some(what) ? [name] : []))
    const keepers = ['api', 'records']
    expect(mounting((volume) => volume === 'perdure-uploads:/data/files')).toEqual(keepers)
    expect(mounting((volume) => volume.startsWith('perdure-uploads'))).toEqual(keepers)
    for (const name of ['worker-1', 'worker-2']) {
      const { hostname, port } = new URL(file.services[name]?.environment.PERDURE_URL ?? '')
      expect(keepers).toContain(hostname)
      expect(file.services[hostname]?.environment.HTTP_SERVER_ADDRESS).toBe(`0.0.0.0:${port}`)
      expect(file.services[name]?.environment.SECRET_APIKEY).toBe(
        file.services[hostname]?.environment.SECRET_APIKEY,
      )
    }
  })

  test('each worker has a runner queue of its own', () => {
    const hosts = services.flatMap(([, { environment }]) => environment.PERDURE_RUNNER_HOST ?? [])
    expect(hosts).toEqual(['worker-1', 'worker-2'])
  })
})

/** All that must have started before it. */
function needs(name: string): string[] {
  const direct = Object.keys(file.services[name]?.depends_on ?? {})
  return [...direct, ...direct.flatMap(needs)]
}
