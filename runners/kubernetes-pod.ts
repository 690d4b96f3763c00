/** What a Pod's status means for its job: the mapping table of the specification, section 4. Pure. */
import type { V1ContainerStatus, V1Pod } from '@kubernetes/client-node'
import type { Observation } from '../contracts/validation-record.ts'
import type { FailureClass } from '../contracts/validation-verdict.ts'
import { containerName } from './kubernetes-manifest.ts'

/** What a later look must know of the earlier ones. */
export interface PodMemory {
  /** `ErrImagePull` in a row: one may be a hiccup. */
  pullErrors: number
  /** Monotonic milliseconds at which the Pod was first seen unschedulable. */
  unschedulableSince?: number
}

export interface PodRules {
  ports: Readonly<Record<string, number>>
  unschedulableGraceMs: number
}

const pullFailed = ['ImagePullBackOff', 'InvalidImageName', 'ErrImageNeverPull']
const notRunnable = ['CreateContainerConfigError', 'CreateContainerError', 'RunContainerError']
const preempting = ['Evicted', 'Preempting', 'NodeLost']

/** `nowMs`: monotonic. Returns the observation and the memory for the next look. */
export function podObservation(
  pod: V1Pod,
  rules: PodRules,
  memory: PodMemory,
  nowMs: number,
): { seen: Observation; memory: PodMemory } {
  const statuses = pod.status?.containerStatuses ?? []
  const server = statuses.find(({ name }) => name === containerName)
  const waiting = statuses.map(({ state }) => state?.waiting).find((one) => one?.reason !== undefined)
  const reason = waiting?.reason ?? ''
  const pullErrors = reason === 'ErrImagePull' ? memory.pullErrors + 1 : 0
  const unscheduled = pod.status?.conditions?.find(
    ({ type, status, reason: why }) =>
      type === 'PodScheduled' && status === 'False' && why === 'Unschedulable',
  )
  const since = unscheduled === undefined ? undefined : (memory.unschedulableSince ?? nowMs)
  const next: PodMemory = { pullErrors, ...(since !== undefined && { unschedulableSince: since }) }
  const still = (failure?: FailureClass, why?: string, message?: string): Observation => ({
    state: 'Scheduled',
    ...(failure && { failure }),
    ...(why && { reason: why }),
    ...(message && { message }),
  })

  const ended = endOf(pod, server)
  if (ended !== undefined) return { seen: ended, memory: next }
  const restarted = statuses.find(({ restartCount }) => restartCount > 0)
  if (reason === 'CrashLoopBackOff' || restarted !== undefined) {
    return {
      seen: aborted('CrashLoopBackOff', waiting?.message ?? 'a container was restarted'),
      memory: next,
    }
  }
  if (pullFailed.includes(reason) || pullErrors >= 2) {
    return { seen: still('IMAGE_PULL_FAILED', reason, waiting?.message), memory: next }
  }
  if (notRunnable.includes(reason)) {
    return { seen: still('CONFIG_INVALID', reason, waiting?.message), memory: next }
  }
  if (since !== undefined && nowMs - since >= rules.unschedulableGraceMs) {
    return { seen: still('UNSCHEDULABLE', 'Unschedulable', unscheduled?.message), memory: next }
  }
  const ip = pod.status?.podIP
  if (pod.status?.phase === 'Running' && ip && server?.state?.running !== undefined) {
    return { seen: running(ip, rules.ports, server), memory: next }
  }
  const placed = pod.spec?.nodeName !== undefined && pod.status?.phase === 'Pending'
  if (placed && (reason === 'ErrImagePull' || ['', 'ContainerCreating'].includes(reason))) {
    return { seen: { ...still(undefined, reason || 'Pending'), pulling: true }, memory: next }
  }
  // Pending, Unknown, missing, or running without an address: poll on until the deadline.
  return {
    seen: still(undefined, reason || unscheduled?.reason || pod.status?.phase || 'no phase'),
    memory: next,
  }
}

function running(
  ip: string,
  ports: Readonly<Record<string, number>>,
  server: V1ContainerStatus,
): Observation {
  const host = ip.includes(':') ? `[${ip}]` : ip
  const imageDigest = /sha256:[0-9a-f]{64}$/.exec(server.imageID)?.[0]
  return {
    state: 'Running',
    reason: 'Running',
    endpoints: Object.fromEntries(Object.entries(ports).map(([name, port]) => [name, `${host}:${port}`])),
    ...(imageDigest && { imageDigest }),
  }
}

function endOf(pod: V1Pod, server: V1ContainerStatus | undefined): Observation | undefined {
  const status = pod.status
  const terminated = server?.state?.terminated
  const over = status?.phase === 'Succeeded' || status?.phase === 'Failed'
  const deleted = pod.metadata?.deletionTimestamp !== undefined
  if (!over && !deleted && terminated === undefined) return undefined

  const disruption = status?.conditions?.find(
    ({ type, status: holds }) => type === 'DisruptionTarget' && holds === 'True',
  )
  const preempted = disruption !== undefined || preempting.includes(status?.reason ?? '')
  // The container's reason alone says so: exit code 137 is a kill by whoever.
  const oomKilled = terminated?.reason === 'OOMKilled'
  const why = oomKilled
    ? 'OOMKilled'
    : preempted
      ? `preempted (${status?.reason ?? disruption?.reason ?? 'DisruptionTarget'})`
      : (status?.reason ?? (deleted ? 'deleted' : terminated?.reason) ?? status?.phase)
  const message = terminated?.message ?? status?.message ?? disruption?.message
  return {
    state: 'Aborted',
    failure: oomKilled ? 'OOM_KILLED' : 'JOB_ABORTED',
    oomKilled,
    ...(why && { reason: why }),
    ...(message && { message }),
    ...(terminated && { exitCode: terminated.exitCode }),
  }
}

function aborted(reason: string, message: string): Observation {
  return { state: 'Aborted', failure: 'JOB_ABORTED', oomKilled: false, reason, message }
}
