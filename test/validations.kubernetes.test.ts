/** A whole validation on a real Kubernetes API, whose nodes are played: Pods run there, but nothing serves in them. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeRunners } from '../runners/index.ts'
import { kubernetes } from './support/kubernetes.ts'
import { type KubernetesTarget, kubernetesTarget } from './support/kubernetes-jobs.ts'
import { startValidations } from './support/validations.ts'

kubernetes.describe('validations on Kubernetes', () => {
  let target: KubernetesTarget
  beforeAll(async () => {
    target = await kubernetesTarget()
  }, 120_000)
  afterAll(() => target.close())

  test('a Pod that runs and never serves is NOT_BLESSED by its deadline, and deleted', async () => {
    const world = await startValidations({ worker: false })
    await world.startWorker({ runners: makeRunners({ kubernetes: target.settings }) })
    const id = await world.submit({
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
    const record = await world.ended(id, 90_000)
    const attempts = await world.attempts(id)
    expect(record, JSON.stringify(attempts)).toMatchObject({ verdict: 'NOT_BLESSED' })
    expect(attempts).toMatchObject([{ errorClass: 'DEADLINE_EXCEEDED', cleanup: { gone: true } }])
    expect(attempts.flatMap(({ transitions }) => transitions ?? []).map(({ to }) => to)).toContain('Running')
    const labelSelector = 'app.kubernetes.io/name=infra-validation-model-server'
    expect((await target.api.listNamespacedPod({ namespace: 'default', labelSelector })).items).toEqual([])
  }, 150_000)
})
