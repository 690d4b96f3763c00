/** API and workers as processes of their own over a Temporal server: what the prediction benches measure. */
import { freePorts } from '../dev/free-ports.ts'
import { type Running, run, until } from './processes.ts'

export interface PredictionSet {
  origin: string
  /** Origin of the platform. */
  platform: string
  startApi(): Promise<Running>
  startWorker(): Promise<Running>
  /** Nothing is unfinished. */
  idle(): Promise<void>
}

export interface PredictionSetOptions {
  /** Names its queue and its data. */
  name: string
  temporalAddress: string
  /** Scratch folder. */
  folder: string
  /** Origin of a V2 model server. */
  platform: string
  /** PostgreSQL instead of SQLite. */
  databaseUrl?: string
  concurrency: number
}

export async function makePredictionSet(options: PredictionSetOptions): Promise<PredictionSet> {
  const { name, temporalAddress, folder, platform, databaseUrl, concurrency } = options
  const [port] = await freePorts(1)
  const env = {
    ENVIRONMENT: 'production',
    LOG_LEVEL: 'error',
    HTTP_SERVER_ADDRESS: `127.0.0.1:${port}`,
    TEMPORAL_ADDRESS: temporalAddress,
    PERDURE_DATA_DIR: `${folder}/${name}`,
    TASK_TYPE_NAME: name,
    ML_PLATFORM: 'v2',
    V2_ADDRESS: new URL(platform).host,
    MAX_QUEUE_SIZE: '1000000',
    SHUTDOWN_DELAY: '0',
    WORKER_CONCURRENCY: String(concurrency),
    ...(databaseUrl !== undefined && { DATABASE_URL: databaseUrl }),
  }
  const origin = `http://127.0.0.1:${port}`
  return {
    origin,
    platform,
    startWorker: () => run('worker/main.ts', { env, cwd: folder }),
    async startApi() {
      const api = await run('api/main.ts', { env, cwd: folder })
      await until('the API', 60_000, async () => (await fetch(`${origin}/ready`)).ok)
      return api
    },
    async idle() {
      await until('an empty queue', 300_000, async () => {
        const answer = await fetch(`${origin}/unfinished`)
        const counts = (await answer.json()) as Record<string, number>
        return counts['num of unfinished tasks'] === 0
      })
    },
  }
}
