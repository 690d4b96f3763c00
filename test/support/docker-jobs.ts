/** Jobs on a real Docker engine: the tiny model server as an image, built here, without a registry. */
import { randomUUID } from 'node:crypto'
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Docker from 'dockerode'
import type { PlatformOf } from '../../contracts/validation-serving.ts'
import { makeDockerRunner, sweepDocker } from '../../runners/docker.ts'
import { ensureBaseImage } from './docker.ts'
import { type RunnerTarget, tinyJob, tinyServer } from './runner-jobs.ts'

export const tinyImage = 'localhost/perdure-tiny:test'

export const dockerPlatform: PlatformOf<'docker'> = {
  kind: 'docker',
  clientTimeoutSeconds: 60,
  hostIp: '127.0.0.1',
  pullPolicy: 'Never',
  readOnlyRoot: false,
  tmpfs: [],
  capAdd: [],
}

export interface DockerTarget extends RunnerTarget {
  engine: Docker
  platform: PlatformOf<'docker'>
}

export async function dockerTarget(): Promise<DockerTarget> {
  const engine = new Docker({ socketPath: '/var/run/docker.sock' })
  await buildImage(engine, tinyImage, tinyServer)
  const host = `test-${randomUUID()}`
  return {
    kind: 'docker',
    engine,
    platform: dockerPlatform,
    async close() {
      const filters = { label: [`infra-validation/host=${host}`] }
      const left = await engine.listContainers({ all: true, filters })
      for (const { Id } of left) await engine.getContainer(Id).remove({ force: true })
      if (left.length > 0) throw new Error(`left behind: ${left.map(({ Names }) => Names.join()).join(', ')}`)
    },
    job: (behave, over = {}) =>
      tinyJob(dockerPlatform, behave, {
        host,
        ...over,
        binary: {
          image: tinyImage,
          ...over.binary,
          env: [{ name: 'HOST', value: '0.0.0.0' }, ...(over.binary?.env ?? [])],
        },
      }),
    runner: (job, options) => makeDockerRunner({}, job, { pollIntervalMs: 100, ...options }),
    sweep: (now, isOver) => sweepDocker({}, now, isOver),
  }
}

/** One script on top of the base image. */
export async function buildImage(engine: Docker, name: string, script: string): Promise<void> {
  const context = mkdtempSync(join(tmpdir(), 'perdure-build-'))
  try {
    copyFileSync(script, join(context, 'server.mjs'))
    writeFileSync(
      join(context, 'Dockerfile'),
      `FROM ${await ensureBaseImage()}\nCOPY server.mjs /app/\nCMD ["/app/server.mjs"]\n`,
    )
    const stream = await engine.buildImage(
      { context, src: ['Dockerfile', 'server.mjs'] },
      { t: name, rm: true },
    )
    await new Promise<void>((resolve, reject) => {
      engine.modem.followProgress(stream, (error) => (error ? reject(error) : resolve()))
    })
  } finally {
    rmSync(context, { recursive: true })
  }
}
