/** Whole validations of images on a real Docker engine: from the request to the blessing, and nothing left behind. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { makeRunners } from '../runners/index.ts'
import { docker } from './support/docker.ts'
import { type DockerTarget, dockerTarget, tinyImage } from './support/docker-jobs.ts'
import { temporaryFolder } from './support/folders.ts'
import { startTinyRegistry } from './support/image-registry.ts'
import { patience, startValidations } from './support/validations.ts'

docker.describe('validations of images', () => {
  let target: DockerTarget
  beforeAll(async () => {
    target = await dockerTarget()
  }, 120_000)
  afterAll(() => target.close())

  async function validate(behave: string, over: Record<string, unknown> = {}) {
    const folder = join(temporaryFolder('image-model'), 'model')
    mkdirSync(folder)
    writeFileSync(join(folder, 'weights'), 'w')
    const world = await startValidations({ worker: false })
    await world.startWorker({ runners: makeRunners({ docker: {} }) })
    const id = await world.submit({
      model: { path: folder },
      servingSpec: {
        modelName: 'tiny',
        platform: { kind: 'docker', pullPolicy: 'Never' },
        binary: {
          kind: 'open-inference-v2',
          image: tinyImage,
          env: [
            { name: 'BEHAVE', value: behave },
            { name: 'HOST', value: '0.0.0.0' },
            // Whoever takes memory is not ready before it has taken too much.
            { name: 'LOAD_DELAY_MS', value: behave === 'hog' ? '25000' : '0' },
          ],
        },
      },
      validationSpec: {
        numTries: 1,
        maxLoadingTimeSeconds: 30,
        pollIntervalSeconds: 0.2,
        stopGraceSeconds: 1,
      },
      ...over,
    })
    const record = await world.ended(id, 120_000)
    const attempts = await world.attempts(id)
    const filters = { label: [`infra-validation/workflow-id=${id}`] }
    expect(await target.engine.listContainers({ all: true, filters })).toEqual([])
    const stored = await world.store.validations.blessing(record.blessingId ?? '')
    return { record, attempts, blessing: stored?.blessing }
  }

  test('a good image is BLESSED, bound to the image that ran', async () => {
    const { record, attempts, blessing } = await validate('good')
    expect(record, JSON.stringify(attempts)).toMatchObject({ verdict: 'BLESSED' })
    expect(blessing?.binaries[0]).toMatchObject({
      image: tinyImage,
      imageDigest: expect.stringMatching(/^sha256:/),
      digestKind: 'imageId',
      passed: true,
    })
    expect(blessing?.model.digest).toMatch(/^sha256:/)
  }, 180_000)

  test('BY-01: cancelled while its image is pulled: long before the pull would end: one stop, ABORTED, nothing left', async () => {
    const registry = await startTinyRegistry({ delayMs: 300_000 })
    onTestFinished(() => registry.close())
    const world = await startValidations({ worker: false })
    await world.startWorker({ runners: makeRunners({ docker: {} }) })
    const id = await world.submit({
      model: { uri: 's3://models/tiny', digest: 'v1' },
      servingSpec: {
        platform: { kind: 'docker', pullPolicy: 'Always' },
        binary: { kind: 'open-inference-v2', image: registry.image },
      },
    })
    await vi.waitFor(() => expect(registry.requests).toBeGreaterThan(0), patience)
    expect((await world.store.validations.get(id))?.progress.phase).toBe('pulling')
    await world.service.cancel(id)
    expect(await world.ended(id)).toMatchObject({ verdict: 'ABORTED' })
    const steps = await world.steps(id)
    expect(steps).not.toContain('startJob')
    expect(steps.filter((step) => step === 'stopJob')).toHaveLength(1)
    expect(await world.attempts(id)).toMatchObject([{ n: 1, cleanup: { gone: true } }])
    const filters = { label: [`infra-validation/workflow-id=${id}`] }
    expect(await target.engine.listContainers({ all: true, filters })).toEqual([])
    await expect(target.engine.getImage(registry.image).inspect()).rejects.toMatchObject({ statusCode: 404 })
  }, 180_000)

  // Issue 11, item 6.
  test('a registry that cannot be reached is IMAGE_PULL_FAILED once the budget of the pull is spent', async () => {
    const registry = await startTinyRegistry()
    await registry.close()
    const world = await startValidations({ worker: false })
    await world.startWorker({ runners: makeRunners({ docker: {} }) })
    const id = await world.submit({
      model: { uri: 's3://models/tiny', digest: 'v1' },
      servingSpec: {
        platform: { kind: 'docker' },
        binary: { kind: 'open-inference-v2', image: registry.image },
      },
      validationSpec: { pullTimeoutSeconds: 2 },
    })
    // Its own budget, not the two minutes around it.
    const record = await world.ended(id, 60_000)
    expect(record).toMatchObject({ verdict: 'ERROR' })
    const stored = await world.store.validations.blessing(record.blessingId ?? '')
    expect(stored?.blessing.binaries[0]?.attempts).toMatchObject([{ errorClass: 'IMAGE_PULL_FAILED' }])
  }, 180_000)

  // Issue 11, item 6.
  test('an image that dies of a query is NOT_BLESSED as JOB_ABORTED, with its exit code', async () => {
    const request = { inputs: [{ name: 'x', shape: [1], datatype: 'FP64', data: [1] }] }
    const { record, attempts } = await validate('dies-of-query', { requests: [request] })
    expect(record, JSON.stringify(attempts)).toMatchObject({ verdict: 'NOT_BLESSED' })
    expect(attempts[0]).toMatchObject({ outcome: 'failed', errorClass: 'JOB_ABORTED', exitCode: 3 })
  }, 180_000)

  test('an image that crashes is NOT_BLESSED, with its exit code and its logs', async () => {
    const { record, attempts } = await validate('crash')
    expect(record, JSON.stringify(attempts)).toMatchObject({ verdict: 'NOT_BLESSED' })
    expect(attempts[0]).toMatchObject({ outcome: 'failed', errorClass: 'JOB_ABORTED' })
    expect(attempts[0]?.exitCode).not.toBe(0)
  }, 180_000)

  test('an image that takes more memory than it may is OOM_KILLED and not tried again', async () => {
    const { record, attempts } = await validate('hog', {
      limits: { memoryBytes: 128 * 1024 * 1024 },
    })
    expect(record, JSON.stringify(attempts)).toMatchObject({ verdict: 'NOT_BLESSED' })
    expect(attempts).toHaveLength(1)
    expect(attempts[0]).toMatchObject({ errorClass: 'OOM_KILLED', oomKilled: true })
  }, 180_000)
})
