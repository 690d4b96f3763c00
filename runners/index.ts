/** The one door of this room: makes the runner that a job's platform asks for, and reaps what any of them left. */
import { ServiceError } from '../contracts/errors.ts'
import type { Platform, PlatformKind } from '../contracts/validation-serving.ts'
import type { Deadline } from '../protocols/deadline.ts'
import { digestJson } from '../protocols/digest.ts'
import type { ServingBinary } from '../protocols/serving-binary.ts'
import { makeDockerRunner, sweepDocker } from './docker.ts'
import type { DockerSettings } from './docker-engine.ts'
import { resolveDockerImage } from './docker-image.ts'
import { makeEndpointRunner } from './endpoint.ts'
import type { Job } from './job.ts'
import { makeKubernetesRunner, sweepKubernetes } from './kubernetes.ts'
import { type KubernetesSettings, requireCluster } from './kubernetes-client.ts'
import { type RunnerOptions, textOf } from './lifecycle.ts'
import { makeProcessRunner, type ProcessSettings, sweepProcesses } from './process.ts'
import type { IsOver, ResolvedImage, Runner, Sweep } from './runner.ts'

/** Platforms that this worker offers; a job of another one is refused. */
export interface RunnerSettings {
  process?: ProcessSettings
  docker?: DockerSettings
  kubernetes?: KubernetesSettings
  endpoint?: boolean
}

export type Sweeps = Partial<Record<PlatformKind, Sweep>>

export interface Runners {
  /** Throws `CONFIG_INVALID` when this worker does not offer the job's platform. */
  of(job: Job, options?: RunnerOptions): Runner
  /**
   * What an attempt shall run, named so that it cannot move between attempts. Pulls where the runner's host does; on
   * Kubernetes the nodes pull, and a tag's digest is known from `Observation.imageDigest` once it runs. Throws
   * `IMAGE_PULL_FAILED`, `CONFIG_INVALID`, `PLATFORM_UNAVAILABLE`.
   */
  resolveImage(
    binary: ServingBinary,
    platform: Platform,
    deadline: Deadline,
    signal?: AbortSignal,
  ): Promise<ResolvedImage>
  /** Throws `CONFIG_INVALID` when this worker does not offer that platform, or has no usable way to its cluster. */
  require(platform: Platform): Promise<void>
  /** Removes every job of these platforms whose time or validation is over. Never throws; job `*` stands for a platform. */
  sweep(now: Date, isOver?: IsOver): Promise<Sweeps>
}

/** Runners that live on the host of their worker: their activities go to that host's task queue. */
export const hostBound = {
  process: true,
  docker: true,
  kubernetes: false,
  endpoint: false,
} as const satisfies Record<PlatformKind, boolean>

export function makeRunners(settings: RunnerSettings): Runners {
  function refused({ kind }: Platform): ServiceError {
    return new ServiceError(
      'CONFIG_INVALID',
      `servingSpec.platform.kind: this worker does not offer ${kind} (PERDURE_RUNNERS)`,
    )
  }

  function requireOffered(platform: Platform): void {
    const offered = platform.kind === 'endpoint' ? settings.endpoint !== false : settings[platform.kind]
    if (!offered) throw refused(platform)
  }

  return {
    of(job, options) {
      const { kind } = job.platform
      if (kind === 'process' && settings.process) return makeProcessRunner(settings.process, job, options)
      if (kind === 'docker' && settings.docker) return makeDockerRunner(settings.docker, job, options)
      if (kind === 'kubernetes' && settings.kubernetes) {
        return makeKubernetesRunner(settings.kubernetes, job, options)
      }
      if (kind === 'endpoint' && settings.endpoint !== false) return makeEndpointRunner(job, options)
      throw refused(job.platform)
    },
    async require(platform) {
      requireOffered(platform)
      if (platform.kind === 'kubernetes') await requireCluster(settings.kubernetes ?? {}, platform)
    },
    async resolveImage(binary, platform, deadline, signal) {
      requireOffered(platform)
      const { image, command, args } = binary
      if (platform.kind === 'process') {
        return { digest: digestJson({ command, args }), digestKind: 'command' }
      }
      if (image === undefined) return { digest: '', digestKind: 'none' }
      if (platform.kind === 'docker') {
        return await resolveDockerImage(settings.docker ?? {}, platform, image, deadline, signal)
      }
      const digest = image.split('@')[1]
      return { image, digest: digest ?? '', digestKind: digest === undefined ? 'none' : 'manifest' }
    },
    async sweep(now, isOver) {
      const { process, docker, kubernetes } = settings
      return await each({
        ...(process && { process: () => sweepProcesses(process, now, isOver) }),
        ...(docker && { docker: () => sweepDocker(docker, now, isOver) }),
        ...(kubernetes && { kubernetes: () => sweepKubernetes(kubernetes, now, isOver) }),
      })
    },
  }
}

/** One platform that is away does not keep the others from being swept. */
async function each(sweeps: Partial<Record<PlatformKind, () => Promise<Sweep>>>): Promise<Sweeps> {
  const done = Object.entries(sweeps).map(async ([kind, sweep]): Promise<[string, Sweep]> => {
    const failed = (error: unknown): Sweep => ({ removed: [], failed: [{ job: '*', error: textOf(error) }] })
    return [kind, await sweep().catch(failed)]
  })
  return Object.fromEntries(await Promise.all(done))
}

export { type Job, jobKeyOf, jobNameOf, jobOf, secretNamesOf } from './job.ts'
export type { IsOver, ResolvedImage, Runner, Running, Sweep } from './runner.ts'
