/** Runs a model server as a bare Pod. Owns the Pod `iv-<jobKey>`; touches no other, restarts nothing. */
import type { V1Pod } from '@kubernetes/client-node'
import { codeOf, ServiceError } from '../contracts/errors.ts'
import type { PlatformOf } from '../contracts/validation-serving.ts'
import { type Deadline, deadlineIn, sleepWithin } from '../protocols/deadline.ts'
import { type Job, jobNameOf, jobSpecDigest } from './job.ts'
import {
  apiStatusOf,
  apiText,
  apiUnavailable,
  type Cluster,
  clusterOf,
  type KubernetesSettings,
  limited,
  placesOf,
} from './kubernetes-client.ts'
import { appLabel, containerName, podOf } from './kubernetes-manifest.ts'
import { type PodMemory, podObservation } from './kubernetes-pod.ts'
import { isLeft } from './leftovers.ts'
import { makeRunner, type RunnerOptions, textOf } from './lifecycle.ts'
import { tailOf } from './output.ts'
import type { IsOver, JobPlatform, Removal, Runner, Sweep } from './runner.ts'

const goneAfterGraceMs = 10_000
const logLines = 20_000
const sharedModes = ['ReadWriteMany', 'ReadOnlyMany']

/** Throws `CONFIG_INVALID` at once when there is no configuration of any cluster. */
export function makeKubernetesRunner(
  settings: KubernetesSettings,
  job: Job,
  options?: RunnerOptions,
): Runner {
  return makeRunner(job, makeKubernetesPlatform(settings, job), options)
}

function makeKubernetesPlatform(settings: KubernetesSettings, job: Job): JobPlatform {
  const platform = kubernetesOf(job)
  const cluster = clusterOf(settings, platform)
  const { api, namespace } = cluster
  const name = jobNameOf(job.key)
  const rules = { ports: job.binary.ports, unschedulableGraceMs: platform.unschedulableGraceSeconds * 1000 }
  let memory: PodMemory = { pullErrors: 0 }

  return {
    async create() {
      await requireSharedClaim(cluster, platform)
      let adopted = false
      let pod: V1Pod | undefined
      try {
        pod = await api.createNamespacedPod(
          { namespace, body: podOf(job, platform, namespace, settings) },
          limited(),
        )
      } catch (error) {
        if (apiStatusOf(error) !== 409) throw creationError(error)
        adopted = true
        pod = await readPod(cluster, name)
      }
      if (pod?.metadata?.annotations?.['infra-validation/spec-digest'] !== jobSpecDigest(job)) {
        throw new ServiceError('CONFIG_INVALID', 'another Pod has the name of this attempt')
      }
      const { uid = '', creationTimestamp } = pod.metadata
      const createdAt = (creationTimestamp ?? new Date()).toISOString()
      return { jobKey: job.key, platformRef: uid, createdAt, adopted }
    },

    async inspect() {
      const pod = await readPod(cluster, name)
      if (pod === undefined || !isOurs(pod, job.key)) return undefined
      const looked = podObservation(pod, rules, memory, performance.now())
      memory = looked.memory
      // Kubernetes keeps no high-water mark.
      return { ...looked.seen, peakMemoryBytes: null }
    },

    async logs(tailBytes) {
      const query = { name, namespace, container: containerName, tailLines: logLines }
      try {
        return tailOf(Buffer.from(await api.readNamespacedPodLog(query, limited())), tailBytes)
      } catch (error) {
        // 404: no Pod; 400: its container has not started.
        if ([400, 404].includes(apiStatusOf(error) ?? 0)) return undefined
        throw apiUnavailable(error)
      }
    },

    remove: (graceSeconds, deadline) => removePod(cluster, job.key, graceSeconds, deadline),
    removeAgainMs: (round) => (round <= 4 ? 1000 * 2 ** round : 15_000),
    close() {},
  }
}

function kubernetesOf(job: Job): PlatformOf<'kubernetes'> {
  if (job.platform.kind === 'kubernetes') return job.platform
  throw new ServiceError('CONFIG_INVALID', 'servingSpec.platform.kind: is not kubernetes')
}

function isOurs(pod: V1Pod, key: string): boolean {
  return pod.metadata?.labels?.['infra-validation/job'] === key
}

async function readPod({ api, namespace }: Cluster, name: string): Promise<V1Pod | undefined> {
  try {
    return await api.readNamespacedPod({ name, namespace }, limited())
  } catch (error) {
    if (apiStatusOf(error) === 404) return undefined
    throw apiUnavailable(error)
  }
}

/** A claim that one Pod alone may use would take the model away from production, or wait for it. */
async function requireSharedClaim(cluster: Cluster, platform: PlatformOf<'kubernetes'>): Promise<void> {
  const name = platform.modelClaim?.claimName
  if (name === undefined) return
  const field = 'servingSpec.platform.modelClaim.claimName'
  try {
    const query = { name, namespace: cluster.namespace }
    const claim = await cluster.api.readNamespacedPersistentVolumeClaim(query, limited())
    const modes = claim.spec?.accessModes ?? []
    if (modes.some((mode) => sharedModes.includes(mode))) return
    throw new ServiceError(
      'CONFIG_INVALID',
      `${field}: allows ${modes.join(', ')}, not ${sharedModes.join(' or ')}`,
    )
  } catch (error) {
    if (apiStatusOf(error) === 404)
      throw new ServiceError('CONFIG_INVALID', `${field}: ${name} does not exist`)
    throw apiUnavailable(error)
  }
}

function creationError(error: unknown): ServiceError {
  const [status, text] = [apiStatusOf(error), apiText(error)]
  // A quota may be free again later; everything else that is refused stays refused.
  const refused =
    status !== undefined && [400, 403, 404, 413, 422].includes(status) && !/exceeded quota/.test(text)
  if (refused) {
    return new ServiceError('CONFIG_INVALID', `the cluster refuses the Pod: ${text}`, { cause: error })
  }
  return apiUnavailable(error)
}

/** What fails names the Pod and the line to type: by then no code of ours may get at it any more. */
async function removePod(
  cluster: Cluster,
  key: string,
  graceSeconds: number,
  deadline: Deadline,
): Promise<Removal> {
  const name = jobNameOf(key)
  // 0 would take the name out of the API while the kubelet is still ending the container.
  const gracePeriodSeconds = Math.max(1, Math.ceil(graceSeconds))
  const byHand = `kubectl delete pod ${name} -n ${cluster.namespace} --grace-period=${gracePeriodSeconds}`
  const left = { gone: false, killed: false, leftovers: [`pod ${name}; ${byHand}`] }
  try {
    const pod = await readPod(cluster, name)
    if (pod === undefined || !isOurs(pod, key)) return { gone: true, killed: false, leftovers: [] }
    const uid = pod.metadata?.uid
    await deletePod(cluster, name, uid, gracePeriodSeconds)
    const wait = deadlineIn(Math.min(deadline.leftMs(), graceSeconds * 1000 + goneAfterGraceMs))
    for (let pauseMs = 50; ; pauseMs = Math.min(1000, pauseMs * 2)) {
      const seen = await readPod(cluster, name)
      if (seen === undefined || seen.metadata?.uid !== uid)
        return { gone: true, killed: false, leftovers: [] }
      if (wait.passed) return left
      await sleepWithin(pauseMs, wait)
    }
  } catch (error) {
    const text = `pod ${name}: ${textOf(error)}; ${byHand}`
    // We are not allowed to: asking again would change nothing.
    if (codeOf(error) === 'CONFIG_INVALID') return { ...left, leftovers: [text], final: true }
    throw new ServiceError('PLATFORM_UNAVAILABLE', text, { cause: error })
  }
}

async function deletePod(
  { api, namespace }: Cluster,
  name: string,
  uid: string | undefined,
  gracePeriodSeconds: number,
): Promise<void> {
  try {
    // All of it in the body: beside one, the API server does not read the query.
    const body = {
      gracePeriodSeconds,
      propagationPolicy: 'Foreground',
      ...(uid !== undefined && { preconditions: { uid } }),
    }
    await api.deleteNamespacedPod({ name, namespace, body }, limited())
  } catch (error) {
    if (apiStatusOf(error) === 403) throw new ServiceError('CONFIG_INVALID', apiText(error), { cause: error })
    // 404: gone meanwhile; 409: another Pod has the name by now, so ours is gone.
    if (![404, 409].includes(apiStatusOf(error) ?? 0)) throw apiUnavailable(error)
  }
}

/** Removes Pods whose time or validation is over, whoever made them, where the worker's settings point. */
export async function sweepKubernetes(
  settings: KubernetesSettings,
  now: Date,
  isOver?: IsOver,
): Promise<Sweep> {
  const sweep: Sweep = { removed: [], failed: [] }
  for (const place of placesOf(settings)) {
    await sweepCluster(settings, place, sweep, now, isOver).catch((error: unknown) => {
      sweep.failed.push({ job: '*', error: textOf(error) })
    })
  }
  return sweep
}

async function sweepCluster(
  settings: KubernetesSettings,
  place: ReturnType<typeof placesOf>[number],
  sweep: Sweep,
  now: Date,
  isOver?: IsOver,
): Promise<void> {
  const cluster = clusterOf(settings, place)
  const labelSelector = Object.entries(appLabel)
    .map(([name, value]) => `${name}=${value}`)
    .join()
  const listed = await cluster.api
    .listNamespacedPod({ namespace: cluster.namespace, labelSelector }, limited())
    .catch((error: unknown) => {
      throw apiUnavailable(error)
    })
  for (const { metadata } of listed.items) {
    const key = metadata?.labels?.['infra-validation/job'] ?? ''
    if (!(await isLeft(metadata?.annotations ?? {}, now, isOver))) continue
    const job = jobNameOf(key)
    try {
      const removal = await removePod(cluster, key, 30, deadlineIn(60_000))
      if (removal.gone) sweep.removed.push(job)
      else sweep.failed.push({ job, error: removal.leftovers.join(', ') })
    } catch (error) {
      sweep.failed.push({ job, error: textOf(error) })
    }
  }
}
