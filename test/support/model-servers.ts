/**
 * Starts real MLServer, KServe SDK and Cog servers with the iris model, well or failing on purpose, on free loopback
 * ports. They need their Python environments: `pythonMissing` says which is absent.
 */
import { execFile } from 'node:child_process'
import { copyFile, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { existingVenv, type VenvName } from '../../scripts/python-venv.mjs'
import { freePorts, launch, type ServerProcess, untilReady } from './server-process.ts'

export type { ServerProcess } from './server-process.ts'

/** Rows of the iris set, their labels, and the probability of each label (scikit-learn, tolerance 1e-6). */
export const irisRows = [
  [5.1, 3.5, 1.4, 0.2],
  [6.7, 3.1, 4.4, 1.4],
  [7.7, 3.0, 6.1, 2.3],
]
export const irisLabels = [0, 1, 2]
export const irisProbabilities = [0.981557, 0.926386, 0.988265]

/** For `requirement('python', () => pythonMissing('mlserver'))`: true, or what to run. */
export function pythonMissing(...names: VenvName[]): true | string {
  const absent = names.filter((name) => existingVenv(name) === undefined)
  return absent.length === 0 || `run: node scripts/python-venv.mjs ${absent.join(' ')}`
}

export interface StartOptions {
  /** `ready` (default): until the model is; `none`: return at once, for servers that fail or take long. */
  wait?: 'ready' | 'none'
}

export interface MlserverOptions extends StartOptions {
  /**
   * `iris` (default); `corrupt`: its file is cut short, the server ends with exit code 0; `slow`: loads for
   * `loadDelayS`; `trivial`: twice the row sums. The model is named `iris` in each case.
   */
  model?: 'iris' | 'corrupt' | 'slow' | 'trivial'
  loadDelayS?: number
  /** Inference processes; 0 (default) runs the model in the server itself. */
  parallelWorkers?: number
}

/** MLServer. To see it unloaded, post `/v2/repository/models/iris/unload`. */
export async function startMlserver(options: MlserverOptions = {}): Promise<ServerProcess> {
  const { model = 'iris', loadDelayS = 6, parallelWorkers = 0 } = options
  const { python, bin } = venv('mlserver')
  const [http = 0, grpc = 0, metrics = 0] = await freePorts(3)
  const cwd = await folder()
  await writeJson(join(cwd, 'settings.json'), {
    ...{ debug: false, host: '127.0.0.1', http_port: http, grpc_port: grpc, metrics_port: metrics },
    parallel_workers: parallelWorkers,
  })
  const custom = { slow: 'slow_model.SlowModel', trivial: 'trivial_model.TrivialModel' }
  if (model === 'slow' || model === 'trivial') {
    await copyFile(source(`${model}_model.py`), join(cwd, `${model}_model.py`))
    await writeJson(join(cwd, 'model-settings.json'), { name: 'iris', implementation: custom[model] })
  } else {
    await trainIris('mlserver', join(cwd, 'model.joblib'))
    if (model === 'corrupt') await truncate(join(cwd, 'model.joblib'), 200)
    await writeJson(join(cwd, 'model-settings.json'), {
      name: 'iris',
      implementation: 'mlserver_sklearn.SKLearnModel',
      parameters: { uri: './model.joblib', version: 'v0.1.0' },
    })
  }
  const server = launch({
    command: python,
    args: [join(bin, 'mlserver'), 'start', '.'],
    cwd,
    env: { LOAD_DELAY: String(loadDelayS), PYTHONPATH: cwd, OMP_NUM_THREADS: '1' },
    port: http,
    clean: () => rm(cwd, { recursive: true, force: true }),
  })
  if (options.wait !== 'none') await untilReady(server, '/v2/models/iris/ready')
  return server
}

export interface KserveOptions extends StartOptions {
  /**
   * `iris` (default); `corrupt`: ends with exit code 1 before it listens; `cold`: registered under that name and never
   * ready; `trivial`: twice the row sums, under that name.
   */
  model?: 'iris' | 'corrupt' | 'cold' | 'trivial'
}

/** The KServe SDK's own server. */
export async function startKserve(options: KserveOptions = {}): Promise<ServerProcess> {
  const { model = 'iris' } = options
  const [port = 0] = await freePorts(1)
  const cwd = await folder()
  const file = join(cwd, 'model.joblib')
  const trained = model === 'iris' || model === 'corrupt'
  if (trained) await trainIris('kserve', file)
  if (model === 'corrupt') await truncate(file, 200)
  const server = launch({
    command: venv('kserve').python,
    args: [source('kserve_iris.py'), String(port), trained ? file : model],
    cwd,
    env: { OMP_NUM_THREADS: '1' },
    port,
    clean: () => rm(cwd, { recursive: true, force: true }),
  })
  if (options.wait !== 'none') {
    await untilReady(server, model === 'cold' ? '/v2/health/live' : `/v2/models/${model}/ready`)
  }
  return server
}

export interface CogOptions extends StartOptions {
  /** Setup takes that long: STARTING meanwhile. */
  loadDelayS?: number
  /** Setup fails: SETUP_FAILED, the process lives on. */
  bad?: boolean
  /** Its worker cannot start: STARTING for ever. */
  stuck?: boolean
}

/** Cog. It has one slot, freed a little late: repeat 409 with a pause. */
export async function startCog(options: CogOptions = {}): Promise<ServerProcess> {
  const { loadDelayS = 0, bad = false, stuck = false } = options
  const { python, bin } = venv('cog')
  const [port = 0] = await freePorts(1)
  const cwd = await folder()
  await copyFile(source('cog/predict.py'), join(cwd, 'predict.py'))
  const server = launch({
    command: python,
    args: ['-m', 'cog.server.http', '--host', '127.0.0.1'],
    cwd,
    env: {
      COG_PREDICT_TYPE_STUB: 'predict.py:Predictor',
      PORT: String(port),
      LOAD_DELAY: String(loadDelayS),
      BAD: bad ? '1' : '',
      // The worker is whatever `python` PATH finds first.
      PATH: stuck ? (process.env.PATH ?? '') : `${bin}:${process.env.PATH}`,
    },
    port,
    clean: () => rm(cwd, { recursive: true, force: true }),
  })
  if (options.wait !== 'none') {
    await untilReady(server, '/health-check', (status, body) => status === 200 && body.includes('"READY"'))
  }
  return server
}

function venv(name: VenvName): { python: string; bin: string } {
  const found = existingVenv(name)
  if (!found)
    throw new Error(`the Python environment ${name} is missing: node scripts/python-venv.mjs ${name}`)
  return found
}

function source(name: string): string {
  return fileURLToPath(new URL(`../servers/${name}`, import.meta.url))
}

function folder(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'perdure-server-'))
}

function writeJson(file: string, value: unknown): Promise<void> {
  return writeFile(file, JSON.stringify(value))
}

const trained = new Map<VenvName, Promise<Buffer>>()

/** Trains once per process and environment: a pickle belongs to the library that wrote it. */
export async function trainIris(name: VenvName, file: string): Promise<void> {
  let model = trained.get(name)
  if (!model) {
    model = train(name)
    trained.set(name, model)
  }
  await writeFile(file, await model)
}

async function train(name: VenvName): Promise<Buffer> {
  const cwd = await folder()
  try {
    const file = join(cwd, 'model.joblib')
    await promisify(execFile)(venv(name).python, [source('train_iris.py'), file])
    return await readFile(file)
  } finally {
    await rm(cwd, { recursive: true, force: true })
  }
}
