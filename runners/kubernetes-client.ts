/** The connection to a Kubernetes API: where it is found, how long a call may take, what its errors mean here. */
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { ConfigurationOptions, CoreV1Api, ObservableMiddleware } from '@kubernetes/client-node'
import { ServiceError } from '../contracts/errors.ts'
import type { PlatformOf } from '../contracts/validation-serving.ts'

export interface KubernetesSettings {
  /** Kubeconfig file of this worker; absent: in-cluster configuration. */
  kubeconfig?: string
  /** For jobs that name none; default: the Pod's own, or the context's, or `default`. */
  namespace?: string
  /** The worker's own, for jobs that name none. */
  serviceAccountName?: string
  /** The worker's own Pod: jobs then go with it. */
  owner?: { apiVersion: string; kind: string; name: string; uid: string }
}

export interface Cluster {
  api: CoreV1Api
  namespace: string
}

// Eighty megabytes that only a worker with Kubernetes jobs should hold: loaded at the first of them.
const require = createRequire(import.meta.url)
const client = () => require('@kubernetes/client-node') as typeof import('@kubernetes/client-node')

const inClusterFolder = '/var/run/secrets/kubernetes.io/serviceaccount'
const callMs = 30_000

type Place = Partial<Pick<PlatformOf<'kubernetes'>, 'kubeconfig' | 'context' | 'namespace'>>

/** Throws `CONFIG_INVALID` when there is neither a kubeconfig nor in-cluster configuration, or it cannot be read. */
export function clusterOf(settings: KubernetesSettings, place: Place): Cluster {
  const { CoreV1Api, KubeConfig } = client()
  const config = new KubeConfig()
  const file = place.kubeconfig ?? settings.kubeconfig
  try {
    if (file !== undefined) config.loadFromFile(file)
    else if (existsSync(`${inClusterFolder}/token`)) config.loadFromCluster()
    else throw new Error('there is neither a kubeconfig nor in-cluster configuration')
    if (place.context !== undefined) config.setCurrentContext(place.context)
    const api = config.makeApiClient(CoreV1Api)
    const own = file === undefined ? readFileSync(`${inClusterFolder}/namespace`, 'utf8').trim() : undefined
    const contexts = config.getContextObject(config.getCurrentContext())?.namespace
    return { api, namespace: place.namespace ?? settings.namespace ?? own ?? contexts ?? 'default' }
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause)
    throw new ServiceError('CONFIG_INVALID', `servingSpec.platform.kubeconfig: ${message}`, { cause })
  }
}

/** Options for one call: a time limit over the whole of it. */
export function limited(ms = callMs): ConfigurationOptions {
  const { Observable } = client()
  const middleware: ObservableMiddleware = {
    pre(context) {
      context.setSignal(AbortSignal.timeout(ms))
      return new Observable(Promise.resolve(context))
    },
    post: (context) => new Observable(Promise.resolve(context)),
  }
  return { middleware: [middleware], middlewareMergeStrategy: 'append' }
}

/** HTTP status of the API's answer; undefined when there was none. */
export function apiStatusOf(error: unknown): number | undefined {
  return error instanceof client().ApiException ? error.code : undefined
}

/** The API's own words. */
export function apiText(error: unknown): string {
  if (!(error instanceof client().ApiException)) {
    const cause = error instanceof Error && error.cause instanceof Error ? `: ${error.cause.message}` : ''
    return error instanceof Error ? `${error.message}${cause}` : String(error)
  }
  const body: unknown = typeof error.body === 'string' ? parsed(error.body) : error.body
  const message = typeof body === 'object' && body !== null && 'message' in body ? body.message : undefined
  return `${error.code}: ${typeof message === 'string' ? message : 'no text'}`
}

/** What is not the caller's fault: no API, an API in trouble. */
export function apiUnavailable(error: unknown): ServiceError {
  if (error instanceof ServiceError) return error
  return new ServiceError('PLATFORM_UNAVAILABLE', `Kubernetes API: ${apiText(error)}`, { cause: error })
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return { message: text.slice(0, 500) }
  }
}
