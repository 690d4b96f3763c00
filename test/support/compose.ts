/**
 * docker-compose.yml on a real engine: as a project of its own on free ports, our own image built from the repository,
 * the images of others replaced by stand-ins. Knows no scenario.
 */
import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { inject, onTestFinished } from 'vitest'
import { parse, stringify } from 'yaml'
import { z } from 'zod'
import { composeCommand, temporalUi } from '../../scripts/compose.mjs'
import { findExecutable } from '../../scripts/run.mjs'
import { docker as engine } from './docker.ts'
import { temporaryFolder } from './folders.ts'
import { buildOwnImage, docker } from './own-image.ts'
import { production } from './production.ts'
import { requirement } from './require.ts'
import { buildStandIns } from './stand-ins.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const run = promisify(execFile)

const compose = requirement('compose', () => {
  const there = composeCommand() !== undefined && temporalUi() !== undefined
  return there || 'Compose or what stands in for an image is not built (node scripts/compose.mjs)'
})
const prometheus = requirement(
  'promtool',
  () => findExecutable('prometheus') !== undefined || 'prometheus is not installed',
)

/** Suites and tests that run the compose file as a whole. */
export const wholeCompose =
  [engine, compose, production, prometheus].find(({ available }) => !available) ?? engine

const File = z.object({
  services: z.record(z.string(), z.object({ image: z.string() })),
  volumes: z.record(z.string(), z.null()),
})

/** The services of docker-compose.yml whose images are ours. */
export function ownServices(): string[] {
  const { services } = File.parse(
    parse(readFileSync(join(root, 'docker-compose.yml'), 'utf8'), { merge: true }),
  )
  return Object.keys(services).filter((name) => services[name]?.image.startsWith('perdure:'))
}

export interface Project {
  /** `docker compose …` of this project; trimmed standard output. */
  compose(...args: string[]): Promise<string>
  /** Lines of a shell in which `docker compose` is this project, pasted in a folder. */
  paste(lines: string, folder: string): Promise<void>
  /** `http://127.0.0.1:…`, as this machine reaches that port of the service. */
  origin(service: string, port: number): Promise<string>
  /** Name of the service's container. */
  container(service: string): string
  /** Names of containers, networks and volumes of the project that the engine still has. */
  left(): Promise<string[]>
}

/**
 * Nothing is started yet. At the end of the test all of it is removed.
 * @param changes of services, as an override file has them
 */
export async function composeProject(changes: Record<string, object> = {}): Promise<Project> {
  const version = randomUUID().slice(0, 8)
  const name = `perdure-${version}`
  await docker('tag', await buildOwnImage(), `perdure:${version}`)
  onTestFinished(() => docker('image', 'rm', `perdure:${version}`).then(() => undefined))

  const images = await buildStandIns(inject('temporalCli'))
  const quickly = (seconds: number) => ({ healthcheck: { interval: `${seconds}s` } })
  const services = Object.fromEntries([
    ...Object.entries(images).map(([service, image]) => [
      service,
      { image, ...(!/schema|namespace/.test(service) && quickly(1)) },
    ]),
    ...ownServices().map((service) => [service, { ...quickly(2), ...changes[service] }]),
    // Nothing of it can be had without a registry.
    ['grafana', { profiles: ['left-out'] }],
  ])
  const override = join(temporaryFolder('compose'), 'override.yaml')
  writeFileSync(override, stringify({ services }))

  const [command = '', ...before] = composeCommand() ?? []
  const files = ['--file', join(root, 'docker-compose.yml'), '--file', override]
  const ports = ['API_PORT', 'RECORDS_PORT', 'TEMPORAL_UI_PORT', 'PROMETHEUS_PORT', 'GRAFANA_PORT']
  const env = {
    ...process.env,
    ...Object.fromEntries(ports.map((key) => [key, '0'])),
    PERDURE_VERSION: version,
    COMPOSE_PROGRESS: 'plain',
  }
  const project: Project = {
    async compose(...args) {
      const all = [...before, '--project-name', name, ...files, ...args]
      const { stdout } = await run(command, all, { env, timeout: 300_000, maxBuffer: 16 * 1024 * 1024 })
      return stdout.trim()
    },
    async paste(lines, folder) {
      const ours = [command, ...before, '--project-name', name, ...files].join(' ')
      const text = lines.replaceAll('docker compose', ours)
      await run('sh', ['-eu', '-c', text], { cwd: folder, env, timeout: 300_000 })
    },
    async origin(service, port) {
      return `http://${await project.compose('port', service, String(port))}`
    },
    container: (service) => `${name}-${service}-1`,
    async left() {
      const ours = ['--filter', `label=com.docker.compose.project=${name}`, '--format']
      const lists = [
        docker('ps', '--all', ...ours, '{{.Names}}'),
        docker('network', 'ls', ...ours, '{{.Name}}'),
        docker('volume', 'ls', ...ours, '{{.Name}}'),
      ]
      return (await Promise.all(lists)).flatMap((list) => list.split('\n')).filter((line) => line !== '')
    },
  }
  onTestFinished(async () => {
    await project.compose('down', '--volumes', '--remove-orphans', '--timeout', '1')
  }, 120_000)
  return project
}
