/** Whole validations of images on a real Docker engine: from the request to the blessing, and nothing left behind. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeRunners } from '../runners/index.ts'
import { docker } from './support/docker.ts'
import { type DockerTarget, dockerTarget, tinyImage } from './support/docker-jobs.ts'
import { temporaryFolder } from './support/folders.ts'
import { startValidations } from './support/validations.ts'

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
