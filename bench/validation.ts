/** `npm run bench -- validation`: what a validation adds to the server's own start and load, measured in the same run. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { performance } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { freePorts } from '../dev/free-ports.ts'
import { percentiles } from './load.ts'
import { type Running, run, until } from './processes.ts'
import type { Row } from './report.ts'
import { benchTemporal } from './temporal.ts'

export interface ValidationBenchOptions {
  /** Fewer rounds: a smoke run, whose figures are not to be quoted. */
  quick: boolean
}

const root = fileURLToPath(new URL('../', import.meta.url))
const model = `${root}examples/iris/model.json`
const command = [process.execPath, `${root}modelserver/main.ts`, `${root}examples/iris/model.ts`]
const mustMs = 1_000

interface View {
  id: string
  status: string
  verdict: string | null
}

export async function benchValidation({ quick }: ValidationBenchOptions): Promise<Row[]> {
  const temporal = await benchTemporal()
  const [port] = await freePorts(1)
  const origin = `http://127.0.0.1:${port}`
  const env = {
    ENVIRONMENT: 'production',
    LOG_LEVEL: 'error',
    HTTP_SERVER_ADDRESS: `127.0.0.1:${port}`,
    TEMPORAL_ADDRESS: temporal.address,
    PERDURE_DATA_DIR: `${temporal.folder}/validation`,
    TASK_TYPE_NAME: 'validation',
    ML_PLATFORM: 'v2',
    SHUTDOWN_DELAY: '0',
  }
  const parts: Running[] = []
  try {
    parts.push(await run('worker/main.ts', { env, cwd: temporal.folder }))
    parts.push(await run('api/main.ts', { env, cwd: temporal.folder }))
    await until('the API', 60_000, async () => (await fetch(`${origin}/ready`)).ok)
    await validated(origin)
    const rounds = quick ? 3 : 20
    const floors: number[] = []
    const whole: number[] = []
    // Side by side in time: what the machine does meanwhile falls on both.
    for (let round = 0; round < rounds; round++) {
      floors.push(await startedByHand())
      whole.push(await validated(origin))
    }
    const floor = percentiles(floors).p50
    const all = percentiles(whole)
    return [
      { name: 'floor: the same server by hand, spawn to ready and stopped, p50', unit: 'ms', value: floor },
      { name: 'LOAD_ONLY, request to verdict, p50', unit: 'ms', value: all.p50 },
      {
        name: 'added by the validation, p50',
        unit: 'ms',
        value: all.p50 - floor,
        must: `≤ ${mustMs}`,
        ok: all.p50 - floor <= mustMs,
      },
      { name: 'added by the validation, p95', unit: 'ms', value: all.p95 - floor },
    ]
  } finally {
    for (const part of parts.toReversed()) await part.stop()
    await temporal.end()
  }
}

/** Milliseconds from the request to the verdict. */
async function validated(origin: string): Promise<number> {
  const since = performance.now()
  const accepted = await fetch(`${origin}/v1/validations`, {
    method: 'POST',
    body: JSON.stringify({
      model: { path: model },
      servingSpec: {
        modelName: 'iris',
        platform: { kind: 'process' },
        binary: { kind: 'mlrun-v2', command },
      },
    }),
  })
  const { id } = (await accepted.json()) as View
  let seen: View | undefined
  await until(
    'the verdict',
    60_000,
    async () => {
      seen = (await (await fetch(`${origin}/v1/validations/${id}`)).json()) as View
      return seen.status === 'ended'
    },
    5,
  )
  if (seen?.verdict !== 'BLESSED') throw new Error(`the validation ended ${seen?.verdict}`)
  return performance.now() - since
}

/** Milliseconds from spawn until the model is ready, and until the server is gone again. */
async function startedByHand(): Promise<number> {
  const [port] = await freePorts(1)
  const [file = '', ...args] = command
  const since = performance.now()
  const server: ChildProcess = spawn(file, args, {
    stdio: 'ignore',
    env: { PATH: process.env.PATH, PORT: String(port), MODEL_NAME: 'iris', MODEL_BASE_PATH: model },
  })
  const ready = `http://127.0.0.1:${port}/v2/models/iris/ready`
  await until('the server', 60_000, async () => (await fetch(ready)).ok, 2)
  server.kill('SIGTERM')
  await once(server, 'exit')
  return performance.now() - since
}
