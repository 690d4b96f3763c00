/**
 * Whole validations on a real Kubernetes API. On kwok's nodes Pods run, but nothing serves in them; on a real node the
 * candidate is a process with logs, limits and signals.
 */
import { fileURLToPath } from 'node:url'
import { KubeConfig, type V1Pod, Watch } from '@kubernetes/client-node'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { readValidationFile } from '../cli/validation-file.ts'
import { makeRunners } from '../runners/index.ts'
import { kubelet, nodeWithinMs } from './support/kubelet.ts'
import { kubernetes } from './support/kubernetes.ts'
import {
  type KubernetesTarget,
  kubeletTarget,
  kubernetesTarget,
  realNode,
  tinyBinary,
} from './support/kubernetes-jobs.ts'
import type { Behaviour } from './support/runner-jobs.ts'
import { doubling, startValidations } from './support/validations.ts'

const labelSelector = 'app.kubernetes.io/name=infra-validation-model-server'

function podsOf({ api }: KubernetesTarget) {
  return api.listNamespacedPod({ namespace: 'default', labelSelector })
}

async function validate(target: KubernetesTarget, request: object) {
  const world = await startValidations({ worker: false })
  await world.startWorker({ runners: makeRunners({ kubernetes: target.settings }) })
  const id = await world.submit(request)
  const record = await world.ended(id, 120_000)
  const attempts = await world.attempts(id)
  const stored = await world.store.validations.blessing(record.blessingId ?? '')
  expect((await podsOf(target)).items).toEqual([])
  const logs = (ref: string | null | undefined) => world.store.validations.text(id, ref ?? '')
  return { record, attempts, blessing: stored!.blessing, logs }
}

kubernetes.describe('validations on Kubernetes', () => {
  let target: KubernetesTarget
  beforeAll(async () => {
    target = await kubernetesTarget()
  }, 120_000)
  afterAll(() => target?.close())

  test('a Pod that runs and never serves is NOT_BLESSED by its deadline, and deleted', async () => {
    const { record, attempts } = await validate(target, {
      model: { uri: 's3://models/tiny' },
      servingSpec: {
        modelName: 'tiny',
        platform: { kind: 'kubernetes' },
        binary: { kind: 'open-inference-v2', image: 'localhost/perdure-tiny:test' },
      },
      validationSpec: {
        numTries: 1,
        maxLoadingTimeSeconds: 5,
        pollIntervalSeconds: 0.5,
        stopGraceSeconds: 1,
      },
    })
    expect(record, JSON.stringify(attempts)).toMatchObject({ verdict: 'NOT_BLESSED' })
    expect(attempts).toMatchObject([{ errorClass: 'DEADLINE_EXCEEDED', cleanup: { gone: true } }])
    expect(attempts.flatMap(({ transitions }) => transitions ?? []).map(({ to }) => to)).toContain('Running')
  }, 150_000)

  test('the example for Kubernetes is a Pod that the API takes and the scheduler places', async () => {
    const { api, cluster } = target
    const metadata = (name: string) => ({ metadata: { name } })
    await api.createNamespace({ body: metadata('models') })
    await api.createNamespacedServiceAccount({ namespace: 'models', body: metadata('default') })
    const spec = {
      accessModes: ['ReadOnlyMany'],
      resources: { requests: { storage: '1Gi' } },
      volumeName: 'models',
    }
    // As the controller manager leaves it, which is not here.
    const annotations = { 'pv.kubernetes.io/bind-completed': 'yes' }
    const claim = { metadata: { name: 'models', annotations }, spec }
    await api.createNamespacedPersistentVolumeClaim({ namespace: 'models', body: claim })
    await api.createPersistentVolume({
      body: {
        ...metadata('models'),
        spec: {
          accessModes: ['ReadOnlyMany'],
          capacity: { storage: '1Gi' },
          hostPath: { path: '/nowhere' },
          claimRef: { namespace: 'models', name: 'models' },
        },
      },
    })
    const node = await api.readNode({ name: 'plain' })
    const labels = { ...node.metadata?.labels, pool: 'inference' }
    await cluster.call('PUT', '/api/v1/nodes/plain', { ...node, metadata: { ...node.metadata, labels } })
    const example = await readValidationFile(
      fileURLToPath(new URL('../examples/validations/kubernetes-open-inference.yaml', import.meta.url)),
    )
    const { record, attempts } = await validate(target, {
      ...example,
      validationSpec: {
        numTries: 1,
        maxLoadingTimeSeconds: 5,
        pollIntervalSeconds: 0.5,
        stopGraceSeconds: 1,
      },
    })
    expect(record, JSON.stringify(attempts)).toMatchObject({ verdict: 'NOT_BLESSED' })
    expect(attempts).toMatchObject([{ errorClass: 'DEADLINE_EXCEEDED', cleanup: { gone: true } }])
    expect(attempts.flatMap(({ transitions }) => transitions ?? []).map(({ to }) => to)).toContain('Running')
    expect((await api.listNamespacedPod({ namespace: 'models' })).items).toEqual([])
  }, 150_000)
})

kubelet.describe('validations on a real node', () => {
  let target: KubernetesTarget
  beforeAll(async () => {
    target = await kubeletTarget()
  }, nodeWithinMs)
  afterAll(() => target?.close(), 180_000)

  const tiny = (behave: Behaviour, over: { stopGraceSeconds?: number } & Record<string, unknown> = {}) => {
    const { stopGraceSeconds = 1, ...rest } = over
    return {
      model: { uri: 's3://models/tiny' },
      servingSpec: {
        modelName: 'tiny',
        platform: { kind: 'kubernetes', ...realNode },
        binary: {
          kind: 'open-inference-v2',
          ...tinyBinary,
          env: [
            { name: 'BEHAVE', value: behave },
            { name: 'HOST', value: '0.0.0.0' },
            // Whoever takes memory is not ready before it has taken too much.
            { name: 'LOAD_DELAY_MS', value: behave === 'hog' ? '50000' : '0' },
          ],
        },
      },
      validationSpec: {
        numTries: 2,
        maxLoadingTimeSeconds: 60,
        pollIntervalSeconds: 0.5,
        stopGraceSeconds,
        retryDelay: { initialSeconds: 0.1, maxSeconds: 0.1 },
      },
      ...rest,
    }
  }

  test('a good image is BLESSED after requests, goldens and load, bound to the image that ran', async () => {
    const { record, attempts, blessing, logs } = await validate(
      target,
      tiny('good', {
        requests: [doubling.request],
        goldens: [doubling],
        load: { concurrencies: [2], requests: 20 },
      }),
    )
    expect(record, JSON.stringify(attempts)).toMatchObject({ verdict: 'BLESSED' })
    expect(blessing.binaries[0]).toMatchObject({
      platform: 'kubernetes',
      imageDigest: expect.stringMatching(/^sha256:/),
      passed: true,
    })
    expect(blessing.results[0]).toMatchObject({ requests: { sent: 1, ok: 1 }, golden: [{ pass: true }] })
    expect(await logs(attempts[0]?.logsRef)).toContain('tiny-model-server: good')
  }, 180_000)

  test('an image that crashes is NOT_BLESSED after both attempts, with exit code and logs', async () => {
    const { record, attempts, logs } = await validate(target, tiny('crash'))
    expect(record, JSON.stringify(attempts)).toMatchObject({ verdict: 'NOT_BLESSED' })
    expect(attempts).toHaveLength(2)
    for (const attempt of attempts) {
      expect(attempt).toMatchObject({ errorClass: 'JOB_ABORTED', exitCode: 3, cleanup: { gone: true } })
      expect(await logs(attempt.logsRef)).toContain('cannot load the model: file is corrupt')
    }
  }, 180_000)

  test('an image that takes more memory than it may is OOM_KILLED and not tried again', async () => {
    const limits = { memoryBytes: 128 * 1024 * 1024 }
    const { record, attempts } = await validate(target, tiny('hog', { limits }))
    expect(record, JSON.stringify(attempts)).toMatchObject({ verdict: 'NOT_BLESSED' })
    expect(attempts).toMatchObject([{ errorClass: 'OOM_KILLED', oomKilled: true, exitCode: 137 }])
  }, 180_000)

  const endings: [Behaviour, number, number, string][] = [
    ['lingers', 20, 0, 'has its grace, and ends by itself'],
    ['stubborn', 1, 137, 'is killed when its grace is over'],
  ]
  test.each(endings)(
    'the server "%s", stopped with a grace of %i s, exits with %i: it %s',
    async (behave, stopGraceSeconds, exitCode) => {
      const exits = await exitsSeen(target)
      const { record, attempts } = await validate(target, tiny(behave, { stopGraceSeconds }))
      expect(record, JSON.stringify(attempts)).toMatchObject({ verdict: 'BLESSED' })
      expect(exits).toEqual(new Set([exitCode]))
    },
    180_000,
  )
})

/** Exit codes of candidates from now on; a Pod's last state shows in the event of its deletion. */
async function exitsSeen({ settings }: KubernetesTarget): Promise<Set<number>> {
  const exits = new Set<number>()
  const config = new KubeConfig()
  config.loadFromFile(settings.kubeconfig)
  const seen = (_phase: string, pod: V1Pod) => {
    const code = pod.status?.containerStatuses?.[0]?.state?.terminated?.exitCode
    if (code !== undefined) exits.add(code)
  }
  const watch = await new Watch(config).watch(
    '/api/v1/namespaces/default/pods',
    { labelSelector },
    seen,
    () => undefined,
  )
  onTestFinished(() => watch.abort())
  return exits
}
