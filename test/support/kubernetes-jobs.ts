/** Jobs on a real Kubernetes API whose nodes are played by kwok: Pods run, but no process does. */
import { CoreV1Api, KubeConfig } from '@kubernetes/client-node'
import type { PlatformOf } from '../../contracts/validation-serving.ts'
import { makeKubernetesRunner, sweepKubernetes } from '../../runners/kubernetes.ts'
import { type KubernetesApi, startKubernetes } from './kubernetes.ts'
import { type RunnerTarget, tinyJob } from './runner-jobs.ts'

export const kubernetesPlatform: PlatformOf<'kubernetes'> = {
  kind: 'kubernetes',
  activeDeadlineSeconds: 86_400,
  labels: {},
  annotations: {},
  imagePullPolicy: 'IfNotPresent',
  imagePullSecrets: [],
  tolerations: [],
  unschedulableGraceSeconds: 60,
}

export interface KubernetesTarget extends RunnerTarget {
  api: CoreV1Api
  cluster: KubernetesApi
  settings: { kubeconfig: string }
}

export async function kubernetesTarget(): Promise<KubernetesTarget> {
  const cluster = await startKubernetes()
  const settings = { kubeconfig: cluster.kubeconfigPath }
  const config = new KubeConfig()
  config.loadFromFile(cluster.kubeconfigPath)
  return {
    kind: 'kubernetes',
    cluster,
    settings,
    api: config.makeApiClient(CoreV1Api),
    close: () => cluster.stop(),
    job: (behave, over = {}) =>
      tinyJob(kubernetesPlatform, behave, {
        model: { uri: 's3://models/tiny', digest: '', version: '1' },
        ...over,
        binary: { image: 'localhost/perdure-tiny:test', ...over.binary },
      }),
    runner: (job, options) => makeKubernetesRunner(settings, job, { pollIntervalMs: 100, ...options }),
    sweep: (now) => sweepKubernetes(settings, now),
  }
}
