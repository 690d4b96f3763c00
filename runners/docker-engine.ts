/** The connection to a Docker Engine, and what its errors mean here. Owns no container. */
import Docker from 'dockerode'
import { ServiceError } from '../contracts/errors.ts'
import type { PlatformOf } from '../contracts/validation-serving.ts'

export interface DockerSettings {
  /** Engine of this worker, for jobs that name none; default `unix:///var/run/docker.sock`. */
  baseUrl?: string
}

type EnginePlace = Pick<PlatformOf<'docker'>, 'baseUrl' | 'apiVersion' | 'clientTimeoutSeconds'>

/** `extraSeconds`: for calls that take longer on purpose, a stop with its grace period for instance. */
export function engineOf(settings: DockerSettings, place: EnginePlace, extraSeconds = 0): Docker {
  const url = new URL(place.baseUrl ?? settings.baseUrl ?? 'unix:///var/run/docker.sock')
  const shared = {
    timeout: (place.clientTimeoutSeconds + extraSeconds) * 1000,
    ...(place.apiVersion !== undefined && { version: `v${place.apiVersion.replace(/^v/, '')}` }),
  }
  if (url.protocol === 'unix:') return new Docker({ ...shared, socketPath: url.pathname })
  const secure = url.protocol === 'https:'
  return new Docker({
    ...shared,
    protocol: secure ? 'https' : 'http',
    host: url.hostname,
    port: Number(url.port || (secure ? 2376 : 2375)),
  })
}

/** HTTP status of the engine's answer; undefined when there was no answer. */
export function statusOf(error: unknown): number | undefined {
  const status = typeof error === 'object' && error !== null && 'statusCode' in error && error.statusCode
  return typeof status === 'number' ? status : undefined
}

/** The engine's own words, without the client's prefix. */
export function engineText(error: unknown): string {
  const json = typeof error === 'object' && error !== null && 'json' in error ? error.json : undefined
  if (typeof json === 'object' && json !== null && 'message' in json) return String(json.message)
  return error instanceof Error ? error.message : String(error)
}

/** What is not the caller's fault: no engine, an engine in trouble. */
export function unavailable(error: unknown): ServiceError {
  if (error instanceof ServiceError) return error
  return new ServiceError('PLATFORM_UNAVAILABLE', `Docker Engine: ${engineText(error)}`, { cause: error })
}
