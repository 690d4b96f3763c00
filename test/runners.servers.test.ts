/** Real model servers, launched by the process runner and probed as a validation does: good ones pass, bad ones say why. */
import { copyFileSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { Golden, type ProbeRequest } from '../contracts/validation-requests.ts'
import type { BinaryKind } from '../contracts/validation-serving.ts'
import { type Deadline, deadlineIn } from '../protocols/deadline.ts'
import { gateFailure, loadGates } from '../protocols/gates.ts'
import { runLoad } from '../protocols/load.ts'
import { waitUntilReady } from '../protocols/readiness.ts'
import { type QueryPhase, runGoldens, runRequests } from '../protocols/requests.ts'
import type { ServingBinary } from '../protocols/serving-binary.ts'
import type { Runner } from '../runners/runner.ts'
import { existingVenv, type VenvName } from '../scripts/python-venv.mjs'
import { irisLabels, irisRows, pythonMissing, trainIris } from './support/model-servers.ts'
import { requirement } from './support/require.ts'
import { processTarget, soon } from './support/runner-jobs.ts'

let target: ReturnType<typeof processTarget>
beforeAll(() => {
  target = processTarget()
})
afterAll(() => target.close())

const minutes = 180_000
const source = (path: string) => fileURLToPath(new URL(path, import.meta.url))

interface Serve {
  kind: BinaryKind
  modelName?: string
  command: string[]
  cwd?: string
  env?: Record<string, string>
  ports?: Record<string, number>
  readiness?: ServingBinary['readiness']
  modelPath?: string
}

/** Starts the server and returns its runner, stopped and proven gone at the end of the test. */
async function launch({
  kind,
  modelName = 'iris',
  command,
  cwd,
  env = {},
  ports,
  readiness,
  modelPath,
}: Serve): Promise<Runner> {
  const job = target.job('good', {
    modelName,
    ...(modelPath !== undefined && { model: { path: modelPath, digest: 'sha256:0', version: '1' } }),
    binary: {
      kind,
      command,
      ...(cwd !== undefined && { cwd }),
      ...(readiness !== undefined && { readiness }),
      ports: { http: 8080, ...ports },
      env: Object.entries(env).map(([name, value]) => ({ name, value })),
    },
  })
  const runner = target.runner(job)
  onTestFinished(async () => {
    expect(await target.runner(job).stop(10, soon())).toMatchObject({ gone: true, leftovers: [] })
  }, 60_000)
  await runner.start()
  return runner
}

async function ready(runner: Runner, deadline: Deadline = deadlineIn(90_000)): Promise<QueryPhase> {
  const { endpoints } = await runner.waitUntilRunning(deadline)
  const { binary, modelName } = runner.job
  const logs = async () => (await runner.getLogs(65_536)).text
  const phase = {
    target: { endpoints, modelName, binary, logs },
    observe: runner.observe,
    deadline,
    requestTimeoutMs: 30_000,
  }
  await waitUntilReady({ ...phase, pollIntervalMs: 500, readyStreak: 2 })
  return { ...phase, deadline: deadlineIn(60_000) }
}

/** Requests, goldens and a small load, all of which must pass. */
async function passes(
  phase: QueryPhase,
  request: ProbeRequest,
  outputs: object,
  rules: object = {},
): Promise<void> {
  expect(await runRequests(phase, [request, request])).toEqual({ results: { sent: 2, ok: 2, failed: [] } })
  const golden = { ...Golden.parse({ request, outputs, rules, flatten: true }), request }
  const { results } = await runGoldens(phase, [golden])
  expect(results, JSON.stringify(results)).toMatchObject([{ pass: true }])
  const load = await runLoad(phase, { concurrencies: [1, 4], requests: 20, warmupRequests: 3 }, [request])
  const gates = loadGates({ maxErrorRate: 0, maxP99Ms: 30_000, minThroughput: 0.1 }, load.results)
  expect(gateFailure(gates), JSON.stringify(load)).toBeUndefined()
}

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'perdure-served-'))
  onTestFinished(() => rmSync(path, { recursive: true }))
  return path
}

const tensor = { name: 'x', shape: [3, 4], datatype: 'FP64' as const, data: irisRows.flat() }

test(
  'our own model server passes',
  async () => {
    const runner = await launch({
      kind: 'mlrun-v2',
      command: [process.execPath, source('../modelserver/main.ts'), source('../examples/iris/model.ts')],
      modelPath: source('../examples/iris/model.json'),
    })
    const phase = await ready(runner)
    const { results, failure } = await runRequests(phase, [{ inputs: irisRows }])
    expect(failure, JSON.stringify(results)).toBeUndefined()
  },
  minutes,
)

function venvOf(name: VenvName): { python: string; bin: string } {
  const found = existingVenv(name)
  if (found === undefined) throw new Error(`no ${name}`)
  return found
}

requirement('python', () => pythonMissing('cog')).describe('Cog', () => {
  function cog(env: Record<string, string> = {}, path?: string): Serve {
    const { python, bin } = venvOf('cog')
    const cwd = folder()
    copyFileSync(source('./servers/cog/predict.py'), join(cwd, 'predict.py'))
    return {
      kind: 'cog',
      command: [python, '-m', 'cog.server.http', '--host', '127.0.0.1'],
      cwd,
      env: {
        COG_PREDICT_TYPE_STUB: 'predict.py:Predictor',
        PATH: path ?? `${bin}:/usr/local/bin:/usr/bin:/bin`,
        ...env,
      },
    }
  }

  test(
    'passes, although its one slot answers 409 now and then',
    async () => {
      const phase = await ready(await launch(cog()))
      await passes(phase, { input: { sl: 5.1 } }, { output: { data: 1.77 } })
    },
    minutes,
  )

  test(
    'BY-04: a failed prediction inside HTTP 200 is a failed request',
    async () => {
      const phase = await ready(await launch(cog()))
      const { failure } = await runRequests(phase, [{ input: { sl: 'not a number' } }])
      expect(failure?.class).toBe('QUERY_FAILED')
    },
    minutes,
  )

  test(
    'a setup that fails is MODEL_LOAD_FAILED while the process lives on',
    async () => {
      const runner = await launch(cog({ BAD: '1' }))
      await expect(ready(runner)).rejects.toMatchObject({
        code: 'MODEL_LOAD_FAILED',
        message: expect.stringContaining('SETUP_FAILED'),
      })
      expect((await runner.observe()).state).toBe('Running')
    },
    minutes,
  )

  test(
    'a server that says STARTING for ever fails by deadline',
    async () => {
      const runner = await launch(cog({}, process.env.PATH))
      await expect(ready(runner, deadlineIn(4000))).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' })
    },
    minutes,
  )
})

requirement('python', () => pythonMissing('mlserver')).describe('MLServer', () => {
  async function mlserver(corrupt = false): Promise<Serve> {
    const { bin } = venvOf('mlserver')
    const cwd = folder()
    const file = join(cwd, 'model.joblib')
    await trainIris('mlserver', file)
    if (corrupt) truncateSync(file, 200)
    const settings = {
      name: 'iris',
      implementation: 'mlserver_sklearn.SKLearnModel',
      parameters: { uri: './model.joblib', version: 'v0.1.0' },
    }
    writeFileSync(join(cwd, 'model-settings.json'), JSON.stringify(settings))
    return {
      kind: 'open-inference-v2',
      command: [join(bin, 'python'), join(bin, 'mlserver'), 'start', '.'],
      cwd,
      ports: { grpc: 8081, metrics: 8082 },
      env: {
        MLSERVER_HOST: '127.0.0.1',
        MLSERVER_HTTP_PORT: '$(PORT)',
        MLSERVER_GRPC_PORT: '$(PORT_GRPC)',
        MLSERVER_METRICS_PORT: '$(PORT_METRICS)',
        MLSERVER_PARALLEL_WORKERS: '0',
        MLSERVER_DEBUG: 'false',
        OMP_NUM_THREADS: '1',
      },
    }
  }

  test(
    'passes its goldens and its load',
    async () => {
      const phase = await ready(await launch(await mlserver()))
      const request = { inputs: [tensor], outputs: [{ name: 'predict' }, { name: 'predict_proba' }] }
      await passes(phase, request, { predict: { data: irisLabels } })
      const wide = { inputs: [{ ...tensor, shape: [4, 3] }] }
      expect((await runRequests(phase, [wide])).failure).toMatchObject({
        class: 'QUERY_FAILED',
        message: expect.stringContaining('500: Internal Server Error'),
      })
    },
    minutes,
  )

  test(
    'a corrupt model is an aborted job with exit code 0 and the reason in its logs',
    async () => {
      const runner = await launch(await mlserver(true))
      await expect(ready(runner)).rejects.toMatchObject({ code: 'JOB_ABORTED', message: /code 0/ })
      expect((await runner.getLogs(65_536)).text).toMatch(/Error/)
    },
    minutes,
  )
})

requirement('python', () => pythonMissing('kserve')).describe('the KServe SDK', () => {
  async function kserve(kind: BinaryKind, corrupt = false): Promise<Serve> {
    const file = join(folder(), 'model.joblib')
    await trainIris('kserve', file)
    if (corrupt) truncateSync(file, 200)
    const command = [venvOf('kserve').python, source('./servers/kserve_iris.py'), '$(PORT)', file]
    return { kind, command, env: { OMP_NUM_THREADS: '1' } }
  }

  test(
    'passes over V2',
    async () => {
      const phase = await ready(await launch(await kserve('open-inference-v2')))
      await passes(phase, { inputs: [tensor] }, { predict: { data: irisLabels } })
    },
    minutes,
  )

  test(
    'passes over V1',
    async () => {
      const phase = await ready(await launch(await kserve('kserve-v1')))
      await passes(phase, { instances: irisRows }, { predictions: { data: irisLabels } })
    },
    minutes,
  )

  test(
    'a corrupt model is an aborted job with exit code 1',
    async () => {
      const runner = await launch(await kserve('open-inference-v2', true))
      await expect(ready(runner)).rejects.toMatchObject({ code: 'JOB_ABORTED', message: /code 1/ })
    },
    minutes,
  )
})

test(
  'BY-03: a server that restarts its worker for ever fails by its failure pattern, with its logs',
  async () => {
    const loop =
      'for (;;) { console.log("Initializing service error: corrupt"); await new Promise((r) => setTimeout(r, 100)) }'
    const runner = await launch({
      kind: 'custom',
      command: [process.execPath, '--input-type=module', '-e', loop],
      readiness: {
        http: { path: '/readyz', expectStatus: 200 },
        failurePattern: 'Initializing service error',
      },
    })
    await expect(ready(runner)).rejects.toMatchObject({
      code: 'MODEL_LOAD_FAILED',
      message: 'Initializing service error: corrupt',
    })
    expect((await runner.getLogs(1000)).text).toContain('corrupt')
  },
  minutes,
)
