/** One job as a bare Pod: the Pod's death must be a failure, so nothing may bring it back. Pure. */
import { createHash } from 'node:crypto'
import type { V1Container, V1EnvVar, V1Pod } from '@kubernetes/client-node'
import type { PlatformOf } from '../contracts/validation-serving.ts'
import { readinessPath } from '../protocols/readiness-path.ts'
import { baseEnvOf, type Job, jobNameOf, labelsOf } from './job.ts'
import type { KubernetesSettings } from './kubernetes-client.ts'

export const containerName = 'model-server'
export const appLabel = { 'app.kubernetes.io/name': 'infra-validation-model-server' } as const
const volumeName = 'model-volume'
/** Short facts go into labels, which can be selected by; what may be long goes into annotations. */
const labelled = ['infra-validation/job', 'infra-validation/attempt', 'infra-validation/binary']

type KubernetesPlatform = PlatformOf<'kubernetes'>

export function podOf(
  job: Job,
  platform: KubernetesPlatform,
  namespace: string,
  settings: Pick<KubernetesSettings, 'owner' | 'serviceAccountName'> = {},
): V1Pod {
  const facts = Object.entries(labelsOf(job))
  const owner = platform.owner ?? settings.owner
  const serviceAccountName = platform.serviceAccountName ?? settings.serviceAccountName
  const volume = volumeOf(platform)
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: jobNameOf(job.key),
      namespace,
      labels: {
        ...mapValues(platform.labels, labelValue),
        ...appLabel,
        ...mapValues(Object.fromEntries(facts.filter(([name]) => labelled.includes(name))), labelValue),
      },
      annotations: {
        ...platform.annotations,
        ...Object.fromEntries(facts.filter(([name]) => !labelled.includes(name))),
      },
      ...(owner && { ownerReferences: [owner] }),
    },
    spec: {
      restartPolicy: 'Never',
      activeDeadlineSeconds: platform.activeDeadlineSeconds,
      ...(serviceAccountName !== undefined && { serviceAccountName }),
      terminationGracePeriodSeconds: 30,
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      ...(platform.imagePullSecrets.length > 0 && {
        imagePullSecrets: platform.imagePullSecrets.map((name) => ({ name })),
      }),
      ...(platform.nodeSelector && { nodeSelector: platform.nodeSelector }),
      ...(platform.nodeName !== undefined && { nodeName: platform.nodeName }),
      ...(platform.tolerations.length > 0 && { tolerations: platform.tolerations }),
      ...(platform.affinity && { affinity: platform.affinity }),
      ...(platform.priorityClassName !== undefined && { priorityClassName: platform.priorityClassName }),
      ...(platform.runtimeClassName !== undefined && { runtimeClassName: platform.runtimeClassName }),
      ...(platform.schedulerName !== undefined && { schedulerName: platform.schedulerName }),
      securityContext: {
        seccompProfile: { type: 'RuntimeDefault' },
        ...(platform.runAsNonRoot !== undefined && { runAsNonRoot: platform.runAsNonRoot }),
        ...(platform.fsGroup !== undefined && { fsGroup: platform.fsGroup }),
      },
      containers: [containerOf(job, platform)],
      ...(volume && { volumes: [volume] }),
    },
  }
}

function containerOf(job: Job, platform: KubernetesPlatform): V1Container {
  const { binary } = job
  const path = readinessPath(job.modelName, binary)
  const subPath = platform.modelClaim?.subPath
  return {
    name: containerName,
    image: binary.image ?? '',
    imagePullPolicy: platform.imagePullPolicy,
    ...(binary.command && { command: binary.command }),
    ...(binary.args && { args: binary.args }),
    env: envOf(job),
    ports: Object.entries(binary.ports).map(([name, containerPort]) => ({ name, containerPort })),
    ...resourcesOf(job, platform),
    // For those who look at the Pod; our own polls decide.
    ...(path !== undefined && {
      readinessProbe: { httpGet: { path, port: 'http' }, periodSeconds: 5, timeoutSeconds: 2 },
    }),
    terminationMessagePolicy: 'FallbackToLogsOnError',
    securityContext: platform.securityContext ?? {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
    },
    ...(volumeOf(platform) && {
      volumeMounts: [
        { name: volumeName, mountPath: binary.modelMountPath, readOnly: true, ...(subPath && { subPath }) },
      ],
    }),
  }
}

/** Ours first, so that later entries can refer to them as `$(PORT)`; a binary's entry of the same name replaces ours. */
function envOf(job: Job): V1EnvVar[] {
  const place = { ports: job.binary.ports, modelPath: job.binary.modelMountPath }
  const entries = new Map<string, V1EnvVar>()
  for (const [name, value] of Object.entries(baseEnvOf(job, place))) entries.set(name, { name, value })
  for (const { name, value = '', valueFrom } of job.binary.env) {
    // `secret` is for runners that resolve it themselves; the schema refuses it here.
    const cluster = valueFrom !== undefined && !('secret' in valueFrom) ? valueFrom : undefined
    entries.set(name, cluster === undefined ? { name, value } : { name, valueFrom: cluster })
  }
  return [...entries.values()]
}

function volumeOf(platform: KubernetesPlatform) {
  if (platform.modelClaim !== undefined) {
    const { claimName } = platform.modelClaim
    return { name: volumeName, persistentVolumeClaim: { claimName, readOnly: true } }
  }
  return platform.modelVolume === undefined ? undefined : { ...platform.modelVolume, name: volumeName }
}

function resourcesOf({ limits }: Job, platform: KubernetesPlatform): Pick<V1Container, 'resources'> {
  if (platform.resources !== undefined) {
    const { requests, limits: given } = platform.resources
    return { resources: { ...(requests && { requests }), ...(given && { limits: given }) } }
  }
  const all = {
    ...(limits.cpus !== undefined && { cpu: String(limits.cpus) }),
    ...(limits.memoryBytes !== undefined && { memory: String(limits.memoryBytes) }),
    ...(limits.gpus !== undefined && { 'nvidia.com/gpu': String(limits.gpus) }),
  }
  return Object.keys(all).length === 0 ? {} : { resources: { requests: all, limits: all } }
}

/** A value that breaks the rules of labels (63 characters, few signs) is replaced by its hash. */
function labelValue(value: string): string {
  const legal = value.length <= 63 && /^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$/.test(value)
  return legal ? value : createHash('sha256').update(value).digest('hex').slice(0, 32)
}

function mapValues(values: Record<string, string>, map: (value: string) => string): Record<string, string> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, map(value)]))
}
