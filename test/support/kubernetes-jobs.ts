/**
 * Jobs on a real Kubernetes API. Its nodes are played by kwok, where Pods run without a process, or there is one real
 * node, where the tiny model server does run.
 */
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CoreV1Api, KubeConfig } from '@kubernetes/client-node'
import type { PlatformOf } from '../../contracts/validation-serving.ts'
import { makeKubernetesRunner, sweepKubernetes } from '../../runners/kubernetes.ts'
import { layOutBase } from '../../scripts/docker-image.mjs'
import { startNode } from './kubelet.ts'
import { type KubernetesApi, startKubernetes } from './kubernetes.ts'
import { type RunnerTarget, tinyJob, tinyServer } from './runner-jobs.ts'

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

const image = 'localhost/perdure-tiny:test'

export async function kubernetesTarget(): Promise<KubernetesTarget> {
  return targetOf(await startKubernetes())
}

/** On the one node of its cluster, which runs what it is told to. */
export const realNode: Partial<PlatformOf<'kubernetes'>> = { nodeName: 'real', imagePullPolicy: 'Never' }
/** What the tiny model server's image, which has no command of its own, is started with there. */
export const tinyBinary = { image, args: ['/app/server.mjs'] }

export async function kubeletTarget(): Promise<KubernetesTarget> {
  const cluster = await startKubernetes({ nodes: {} })
  try {
    const node = await startNode(cluster, 'real')
    try {
      await addTinyImage(node.addImage)
    } catch (error) {
      await node.stop()
      throw error
    }
    const target = targetOf(cluster)
    return {
      ...target,
      async close() {
        await node.stop()
        await target.close()
      },
      job: (behave, over = {}) => ({
        ...target.job(behave, {
          ...over,
          binary: {
            ...tinyBinary,
            ...over.binary,
            env: [{ name: 'HOST', value: '0.0.0.0' }, ...(over.binary?.env ?? [])],
          },
        }),
        platform: { ...kubernetesPlatform, ...realNode },
      }),
    }
  } catch (error) {
    await cluster.stop()
    throw error
  }
}

async function addTinyImage(addImage: (name: string, root: string) => Promise<void>): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 'perdure-tiny-'))
  try {
    await layOutBase(root)
    copyFileSync(tinyServer, join(root, 'app', 'server.mjs'))
    await addImage(image, root)
  } finally {
    rmSync(root, { recursive: true })
  }
}

function targetOf(cluster: KubernetesApi): KubernetesTarget {
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
        binary: { image, ...over.binary },
      }),
    runner: (job, options) => makeKubernetesRunner(settings, job, { pollIntervalMs: 100, ...options }),
    sweep: (now, isOver) => sweepKubernetes(settings, now, isOver),
  }
}
