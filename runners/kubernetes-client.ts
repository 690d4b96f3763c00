/** The connection to a Kubernetes API: where it is found, how long a call may take, what its errors mean here. */
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { setTimeout as delay } from 'node:timers/promises'
import type {
  ConfigurationOptions,
  CoreV1Api,
  KubeConfig,
  ObservableMiddleware,
} from '@kubernetes/client-node'
import { ServiceError } from '../contracts/errors.ts'
import type { PlatformOf } from '../contracts/validation-serving.ts'

export interface KubernetesSettings {
  /** Kubeconfig file of this worker, for jobs that name no cluster; absent: in-cluster configuration. */
  kubeconfig?: string
  /** Kubeconfig files by the names that jobs may give. */
  clusters?: Readonly<Record<string, string>>
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
  config: KubeConfig
}

// Eighty megabytes that only a worker with Kubernetes jobs should hold: loaded at the first of them.
const require = createRequire(import.meta.url)
const client = () => require('@kubernetes/client-node') as typeof import('@kubernetes/client-node')

const inClusterFolder = '/var/run/secrets/kubernetes.io/serviceaccount'
const callMs = 30_000
const usableWithinMs = 5_000

type Place = Partial<Pick<PlatformOf<'kubernetes'>, 'cluster' | 'context' | 'namespace'>>

const clusterField = 'servingSpec.platform.cluster'

/**
 * Throws `CONFIG_INVALID` when there is neither a kubeconfig nor in-cluster configuration, or it cannot be read. Only the
 * worker's own settings name files: a kubeconfig may have programs run (`exec`) and files sent.
 */
export function clusterOf(settings: KubernetesSettings, place: Place): Cluster {
  // In specs that were stored before: never another cluster than the one they meant.
  if ('kubeconfig' in place) throw refused('servingSpec.platform.kubeconfig', 'is replaced by cluster')
  const file = fileOf(settings, place)
  const { CoreV1Api, KubeConfig } = client()
  const config = new KubeConfig()
  try {
    if (file !== undefined) config.loadFromFile(file)
    else if (inCluster()) config.loadFromCluster()
    else throw new Error('there is neither a kubeconfig nor in-cluster configuration')
    if (place.context !== undefined) config.setCurrentContext(place.context)
    const api = config.makeApiClient(CoreV1Api)
    const own = file === undefined ? readFileSync(`${inClusterFolder}/namespace`, 'utf8').trim() : undefined
    const contexts = config.getContextObject(config.getCurrentContext())?.namespace
    const namespace = place.namespace ?? settings.namespace ?? own ?? contexts ?? 'default'
    return { api, namespace, config }
  } catch (cause) {
    throw refused(clusterField, wordsOf(cause), cause)
  }
}

/** Throws `CONFIG_INVALID` for a cluster that no call can be made to: what a call would fail with, before any is made. */
export async function requireCluster(settings: KubernetesSettings, place: Place): Promise<void> {
  const { config } = clusterOf(settings, place)
  try {
    // Reads certificates and tokens, runs the credential program, refuses plain HTTP.
    await Promise.race([config.applyToHTTPSOptions({}), late()])
  } catch (cause) {
    throw refused(clusterField, wordsOf(cause), cause)
  }
}

async function late(): Promise<never> {
  await delay(usableWithinMs, undefined, { ref: false })
  throw new Error(`its credentials are not there within ${usableWithinMs} ms`)
}

/** Places whose Pods are this worker's to look after: its own cluster, if it has one, and all that jobs may name. */
export function placesOf({ kubeconfig, clusters = {} }: KubernetesSettings): Place[] {
  const named = Object.keys(clusters).map((cluster) => ({ cluster }))
  return kubeconfig !== undefined || inCluster() || named.length === 0 ? [{}, ...named] : named
}

function fileOf({ kubeconfig, clusters = {} }: KubernetesSettings, { cluster }: Place): string | undefined {
  if (cluster === undefined) return kubeconfig
  const file = Object.hasOwn(clusters, cluster) ? clusters[cluster] : undefined
  if (file === undefined) throw refused(clusterField, `this worker knows no ${cluster} (KUBERNETES_CLUSTERS)`)
  return file
}

function inCluster(): boolean {
  return existsSync(`${inClusterFolder}/token`)
}

function refused(field: string, message: string, cause?: unknown): ServiceError {
  return new ServiceError('CONFIG_INVALID', `${field}: ${message}`, { cause })
}

function wordsOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
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
