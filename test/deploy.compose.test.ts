/** docker-compose.yml: what its services promise on paper, and ours run from our own image as the file describes them. */
import { randomUUID } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, inject, onTestFinished, test, vi } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { keys } from '../config.ts'
import { docker as engine } from './support/docker.ts'
import { buildOwnImage, buildTemporalImage, docker, removeAll, written } from './support/own-image.ts'

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
type Service = z.infer<typeof Service>

const file = z
  .object({ services: z.record(z.string(), Service), volumes: z.record(z.string(), z.null()) })
  .parse(parse(readFileSync(`${root}docker-compose.yml`, 'utf8'), { merge: true }))
const services = Object.entries(file.services)
const ours = services.filter(([, { build }]) => build !== undefined)
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
        const [host, published] = port.split(':')
        expect(host).toBe('127.0.0.1')
        expect(guide).toMatch(new RegExp(`\\| *\`?${published}\`? *\\|.*\`${name}\``))
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

  test('each worker has a runner queue of its own', () => {
    const hosts = services.flatMap(([, { environment }]) => environment.PERDURE_RUNNER_HOST ?? [])
    expect(hosts).toEqual(['worker-1', 'worker-2'])
  })
})

engine.describe('the image, with the settings of the compose file', () => {
  test('API, worker, records and model run without root, without a writable root, and answer; a stop loses nothing', async () => {
    const [image, temporal] = [await buildOwnImage(), await buildTemporalImage(inject('temporalCli'))]
    const run = await startNetwork()
    await run.other('temporal', temporal, ['server', 'start-dev', '--headless', '--ip', '0.0.0.0'])
    for (const name of ['model', 'worker-1', 'api', 'records']) await run.service(name, image)
    for (const name of ['model', 'records', 'api', 'worker-1']) await run.healthy(name)

    const predict = ['perdure', 'predict', 'iris', '{"inputs":[[5.1,3.5,1.4,0.2]]}', '--json']
    const answer = JSON.parse(await run.inside('api', predict))
    expect(answer).toMatchObject({ status: 'succeeded', outputs: { model_name: 'iris' } })
    expect(JSON.stringify(answer.outputs)).toContain('setosa')
    expect(JSON.parse(await run.inside('api', ['perdure', 'task', answer.id, '--json']))).toMatchObject({
      status: 'succeeded',
    })
    expect(await docker('exec', run.nameOf('api'), 'id', '-u')).toBe('1000')

    for (const name of ['api', 'worker-1', 'records', 'model']) {
      await docker('stop', '--time', '60', run.nameOf(name))
      const code = await docker('inspect', '--format', '{{.State.ExitCode}}', run.nameOf(name))
      expect(code, await written(run.nameOf(name))).toBe('0')
    }
  }, 400_000)
})

/** All that must have started before it. */
function needs(name: string): string[] {
  const direct = Object.keys(file.services[name]?.depends_on ?? {})
  return [...direct, ...direct.flatMap(needs)]
}

/** A network without a way out, in which containers have the names of their services. */
async function startNetwork() {
  const id = randomUUID().slice(0, 8)
  const network = `perdure-compose-${id}`
  const nameOf = (service: string) => `${network}-${service}`
  const started: string[] = []
  onTestFinished(async () => {
    removeAll(started.map(nameOf).toReversed(), network)
    await docker('volume', 'rm', '--force', network)
  }, 120_000)
  await docker('network', 'create', '--internal', network)
  await docker('volume', 'create', network)
  const start = (name: string, ...args: string[]) => {
    started.push(name)
    const place = ['--network', network, '--network-alias', name, '--name', nameOf(name), '--hostname', name]
    return docker('run', '--detach', ...place, ...args)
  }
  return {
    nameOf,
    other: (name: string, image: string, command: string[]) => start(name, image, ...command),
    /** SQLite in a volume that all share stands in for PostgreSQL, whose image cannot be had without a registry. */
    service: (name: string, image: string) =>
      start(
        name,
        ...settingsOf(file.services[name]!, network),
        image,
        ...(file.services[name]?.command ?? []),
      ),
    async healthy(name: string) {
      await vi.waitFor(
        async () => {
          const state = await docker('inspect', '--format', '{{.State.Health.Status}}', nameOf(name))
          if (state !== 'healthy') throw new Error(`${name} is ${state}: ${await logs(nameOf(name))}`)
        },
        { timeout: 120_000, interval: 500 },
      )
    },
    inside: (name: string, command: string[]) => {
      const [, ...args] = command
      return docker('exec', nameOf(name), 'node', '/app/dist/cli/main.js', ...args)
    },
  }
}

async function logs(name: string): Promise<string> {
  const health = await docker('inspect', '--format', '{{json .State.Health.Log}}', name)
  return `${health.slice(-500)} ${await written(name)}`
}

/** What compose would pass on, defaults put in for its variables. */
function settingsOf(service: Service, data: string): string[] {
  const { DATABASE_URL: _, ...environment } = service.environment
  const given = (text: string) => text.replaceAll(/\$\{\w+:-([^}]*)\}/g, '$1')
  return [
    ...Object.entries(environment).flatMap(([key, value]) => ['--env', `${key}=${given(value)}`]),
    ...(service.read_only ? ['--read-only'] : []),
    ...(service.cap_drop ?? []).flatMap((name) => ['--cap-drop', name]),
    ...(service.security_opt ?? []).flatMap((option) => ['--security-opt', option]),
    ...service.tmpfs.flatMap((path) => ['--tmpfs', path]),
    ...service.volumes.flatMap((volume) => ['--volume', volume.replace(/^perdure-data:/, `${data}:`)]),
    ...[
      '--health-cmd',
      (service.healthcheck?.test.slice(1) ?? []).join(' '),
      '--health-interval',
      '2s',
      '--health-timeout',
      '20s',
    ],
  ]
}
