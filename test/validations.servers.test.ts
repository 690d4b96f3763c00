/** Real model servers validated from request to blessing through the process runner: Cog, MLServer, the KServe SDK. */
import { copyFileSync, mkdirSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'
import { existingVenv, type VenvName } from '../scripts/python-venv.mjs'
import { temporaryFolder } from './support/folders.ts'
import { irisLabels, irisRows, pythonMissing, trainIris } from './support/model-servers.ts'
import { requirement } from './support/require.ts'
import { startValidations, type Validations } from './support/validations.ts'

const minutes = 240_000
const source = (path: string) => fileURLToPath(new URL(`./servers/${path}`, import.meta.url))
const tensor = { name: 'x', shape: [3, 4], datatype: 'FP64', data: irisRows.flat() }

function venvOf(name: VenvName): { python: string; bin: string } {
  const found = existingVenv(name)
  if (found === undefined) throw new Error(`no ${name}`)
  return found
}

interface Served {
  model: string
  binary: Record<string, unknown>
  env?: Record<string, string>
  more: Record<string, unknown>
}

function requestOf({ model, binary, env = {}, more }: Served): Record<string, unknown> {
  const entries = Object.entries({ OMP_NUM_THREADS: '1', ...env }).map(([name, value]) => ({ name, value }))
  return {
    model: { path: model },
    servingSpec: { modelName: 'iris', platform: { kind: 'process' }, binary: { ...binary, env: entries } },
    validationSpec: { numTries: 1, maxLoadingTimeSeconds: 120 },
    load: { concurrencies: [1, 2], requests: 10 },
    ...more,
  }
}

async function validated(world: Validations, served: Served) {
  const record = await world.ended(await world.submit(requestOf(served)), minutes)
  const stored = await world.store.validations.blessing(record.blessingId ?? '')
  const jobs = await world.jobs()
  expect(jobs.filter(({ alive }) => alive)).toEqual([])
  return { record, blessing: stored!.blessing }
}

requirement('python', () => pythonMissing('cog')).test(
  'Cog is BLESSED, although its one slot answers 409 now and then; another answer than expected is not',
  async () => {
    const world = await startValidations()
    const { python, bin } = venvOf('cog')
    const cwd = temporaryFolder('cog')
    copyFileSync(source('cog/predict.py'), join(cwd, 'predict.py'))
    const served = (data: number): Served => ({
      model: join(cwd, 'predict.py'),
      binary: { kind: 'cog', cwd, command: [python, '-m', 'cog.server.http', '--host', '127.0.0.1'] },
      env: { COG_PREDICT_TYPE_STUB: 'predict.py:Predictor', PATH: `${bin}:/usr/local/bin:/usr/bin:/bin` },
      more: { goldens: [{ request: { input: { sl: 5.1 } }, outputs: { output: { data } } }] },
    })
    const good = await validated(world, served(1.77))
    expect(good.record.verdict, JSON.stringify(good.blessing)).toBe('BLESSED')
    expect(good.blessing.results[0]?.load?.map(({ n }) => n)).toEqual([10, 10])
    const bad = await validated(world, served(2))
    expect(bad.record.verdict).toBe('NOT_BLESSED')
    expect(bad.blessing.binaries[0]?.attempts[0]?.errorClass).toBe('GOLDEN_MISMATCH')
  },
  minutes,
)

requirement('python', () => pythonMissing('mlserver')).test(
  'MLServer with the iris model is BLESSED; with a corrupt one NOT_BLESSED, and the logs say why',
  async () => {
    const world = await startValidations()
    const { bin } = venvOf('mlserver')
    async function served(corrupt: boolean): Promise<Served> {
      const cwd = temporaryFolder('mlserver')
      const model = join(cwd, 'model')
      mkdirSync(model)
      await trainIris('mlserver', join(model, 'model.joblib'))
      if (corrupt) truncateSync(join(model, 'model.joblib'), 200)
      const settings = {
        name: 'iris',
        implementation: 'mlserver_sklearn.SKLearnModel',
        parameters: { uri: './model/model.joblib', version: 'v0.1.0' },
      }
      writeFileSync(join(cwd, 'model-settings.json'), JSON.stringify(settings))
      return {
        model,
        binary: {
          kind: 'open-inference-v2',
          cwd,
          command: [join(bin, 'python'), join(bin, 'mlserver'), 'start', '.'],
          ports: { grpc: 8081, metrics: 8082 },
        },
        env: {
          MLSERVER_HOST: '127.0.0.1',
          MLSERVER_HTTP_PORT: '$(PORT)',
          MLSERVER_GRPC_PORT: '$(PORT_GRPC)',
          MLSERVER_METRICS_PORT: '$(PORT_METRICS)',
          MLSERVER_PARALLEL_WORKERS: '0',
          MLSERVER_DEBUG: 'false',
        },
        more: {
          goldens: [
            {
              request: { inputs: [tensor], outputs: [{ name: 'predict' }] },
              outputs: { predict: { data: irisLabels } },
              flatten: true,
            },
          ],
        },
      }
    }
    const good = await validated(world, await served(false))
    expect(good.record.verdict, JSON.stringify(good.blessing)).toBe('BLESSED')
    const bad = await validated(world, await served(true))
    expect(bad.record.verdict).toBe('NOT_BLESSED')
    const [attempt] = bad.blessing.binaries[0]!.attempts
    expect(attempt).toMatchObject({ errorClass: 'JOB_ABORTED', exitCode: 0 })
    expect(await world.store.validations.text(bad.record.id, attempt?.logsRef ?? '')).toMatch(/Error/)
  },
  minutes,
)

requirement('python', () => pythonMissing('kserve')).test(
  'the KServe SDK is BLESSED over both of its protocols',
  async () => {
    const world = await startValidations()
    const model = join(temporaryFolder('kserve'), 'model.joblib')
    await trainIris('kserve', model)
    const command = [venvOf('kserve').python, source('kserve_iris.py'), '$(PORT)', '$(MODEL_PATH)']
    for (const [kind, request, output] of [
      ['open-inference-v2', { inputs: [tensor] }, 'predict'],
      ['kserve-v1', { instances: irisRows }, 'predictions'],
    ] as const) {
      const { record, blessing } = await validated(world, {
        model,
        binary: { kind, command },
        more: { goldens: [{ request, outputs: { [output]: { data: irisLabels } }, flatten: true }] },
      })
      expect(record.verdict, JSON.stringify(blessing)).toBe('BLESSED')
    }
  },
  minutes,
)
