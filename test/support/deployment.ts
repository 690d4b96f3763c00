/** API, worker and Temporal as processes of their own, so that a test can kill, freeze and restart each of them. */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Client, Connection } from '@temporalio/client'
import { expect, inject, onTestFinished, vi } from 'vitest'
import { looseEnds } from '../../bench/loose-ends.ts'
import { foundOwnerless, keepAsking } from '../../bench/ownership.ts'
import { taskQueueOf } from '../../contracts/names.ts'
import { lastingPorts } from '../../dev/free-ports.ts'
import { startTemporal, type TemporalServer } from '../../dev/temporal-server.ts'
import { temporaryFolder } from './folders.ts'
import type { Production } from './production.ts'
import { type ScriptedServer, type Step, startScriptedServer } from './scripted-server.ts'
import { probePostgres, probeSqlite } from './store-probe.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** A process of the deployment. */
export interface Part {
  readonly pid: number
  /** What it has written so far, both streams. */
  output(): string
  /** SIGKILL, and gone. */
  kill(): Promise<void>
  /** SIGTERM; resolves with the exit code. */
  stop(): Promise<number | null>
  freeze(): void
  thaw(): void
  /** Resolves with the exit code when it ends by itself. */
  exited: Promise<number | null>
}

export interface DeploymentOptions {
  /** A Temporal server of its own with a database file, so that it can be killed. */
  ownTemporal?: boolean
  /** Records and Temporal on PostgreSQL, instead of SQLite and the development server. */
  production?: Production
  /** How many API processes may run at once; each has its port. Default 1. */
  apis?: number
  env?: Record<string, string>
  /** Where a models file is written before anything starts: model `m` on the scripted platform. */
  models?: string
  platform?: Step
  /** The setting that names the platform's address. */
  platformKey?: string
}

export interface Deployment {
  /** Of the first API process. */
  baseUrl: string
  /** Of each one that may run. */
  baseUrls: readonly string[]
  dataDir: string
  /** On what it lies, unless that is SQLite. */
  production: Production | undefined
  /** Whatever starts from now on, and every look, goes there. */
  moveTo(production: Production): void
  platform: ScriptedServer
  temporalAddress(): string
  /** A models file that sends these names to the scripted platform. */
  modelsFileOf(...names: string[]): string
  /** `which`: an index of `baseUrls`. */
  startApi(which?: number): Promise<Part>
  /** `env`: what is different for this one. */
  startWorker(env?: Record<string, string>): Promise<Part>
  /** Some other program of the repository in the deployment's environment, arguments behind it. */
  launch(program: string, ...args: string[]): Part
  /** The API answers /ready with 200. */
  ready(part?: Part, which?: number): Promise<void>
  killTemporal(): Promise<void>
  restartTemporal(): Promise<void>
  /** POST /async/v1/predict; the id, or the status it was refused with. */
  submit(n: number, which?: number): Promise<{ status: number; id: string }>
  task(id: string): Promise<{ status: string; error_info: string; outputs: unknown; queue_id: string }>
  /** Rows of the store, read beside its owners. */
  query<Row>(sql: string, ...params: (string | number)[]): Promise<Row[]>
  /** From the first API that was ready on, every change of a status is noted: `expectSettled` counts terminal writes. */
  noteStatuses(): Promise<void>
  /** The store is as good as away from now on. Returns what brings it back. */
  takeStoreAway(): Promise<() => Promise<void>>
  declareDead(processId: string): Promise<void>
  /**
   * Every one of these is known and, like all others, was ended exactly once; nothing waits to be done, no workflow is open
   * but the guards of the APIs that run, and none was closed in a way that is not Perdure's, or found missing by an
   * ownership check, `endedByHand` excepted. A worker must be alive.
   */
  expectSettled(ids: readonly string[], within?: SettledWithin): Promise<void>
  /** What would fail that now, one line each. */
  looseEnds(endedByHand?: readonly string[]): Promise<string[]>
  client(): Promise<Client>
}

export interface SettledWithin {
  timeout?: number
  interval?: number
  /** Ids of workflows that the test has terminated, or taken back with an older state of Temporal. */
  endedByHand?: readonly string[]
}

const apiPrograms = ['api/main.ts', 'test/support/crashing-api.ts']

/** How long a process may take to come up on a busy machine. */
export const startWithin = { timeout: 60_000, interval: 50 }

export async function makeDeployment(options: DeploymentOptions = {}): Promise<Deployment> {
  const dataDir = temporaryFolder('deployment')
  const [temporalPort, ...apiPorts] = await lastingPorts(1 + (options.apis ?? 1))
  const platform = await startScriptedServer(options.platform ?? echo)
  onTestFinished(() => platform.close())

  let temporal: TemporalServer | undefined
  const startOwn = async () => {
    mkdirSync(join(dataDir, 'temporal'), { recursive: true })
    temporal = await startTemporal({
      binary: inject('temporalCli'),
      dbFilename: join(dataDir, 'temporal', 'temporal.db'),
      port: temporalPort!,
      headless: true,
      logFile: join(dataDir, 'temporal', 'temporal.log'),
    })
  }
  if (options.ownTemporal && options.production === undefined) {
    await startOwn()
    onTestFinished(async () => temporal?.stop())
  }
  let { production } = options
  const temporalAddress = () => (production?.temporal ?? temporal)?.address ?? inject('temporalAddress')

  const env = {
    ENVIRONMENT: 'production',
    LOG_LEVEL: 'warn',
    HTTP_SERVER_ADDRESS: `127.0.0.1:${apiPorts[0]}`,
    PERDURE_URL: `http://127.0.0.1:${apiPorts[0]}`,
    PERDURE_DATA_DIR: join(dataDir, 'perdure'),
    PERDURE_CACHE_DIR: join(tmpdir(), 'perdure-test-cache'),
    TASK_TYPE_NAME: `test-${randomUUID()}`,
    ML_PLATFORM: 'v2',
    [options.platformKey ?? 'V2_ADDRESS']: platform.address,
    MAX_QUEUE_SIZE: '10000',
    WORKER_CONCURRENCY: '16',
    TASK_TIMEOUT: '120',
    V2_REQUEST_TIMEOUT: '120',
    SHUTDOWN_DELAY: '0',
    ...options.env,
  }
  const baseUrls = apiPorts.map((port) => `http://127.0.0.1:${port}`)
  const baseUrl = baseUrls[0]!
  const probe = () =>
    production
      ? probePostgres(production.databaseUrl, production.postgres)
      : probeSqlite(env.PERDURE_DATA_DIR)
  let store = probe()
  let isNoted = false
  async function noteStatuses(): Promise<void> {
    if (!isNoted) await store.noteStatuses()
    isNoted = true
  }
  const taskQueue = taskQueueOf(env.TASK_TYPE_NAME)
  onTestFinished(keepAsking(temporalAddress, taskQueue))
  onTestFinished(() => store.close())
  const modelsFileOf = (...names: string[]) =>
    JSON.stringify({
      models: Object.fromEntries(names.map((name) => [name, { platform: 'v2', address: platform.address }])),
    })
  if (options.models !== undefined) writeFileSync(options.models, modelsFileOf('m'))

  const apis = new Set<Part>()
  const launch = (main: string, ...args: string[]) => launchWith({}, main, ...args)

  function launchWith(more: Record<string, string>, main: string, ...args: string[]): Part {
    const child = spawn(process.execPath, [join(root, main), ...args], {
      cwd: dataDir,
      env: {
        ...process.env,
        ...(production !== undefined && { DATABASE_URL: production.databaseUrl }),
        ...env,
        TEMPORAL_ADDRESS: temporalAddress(),
        ...more,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const part = partOf(child)
    if (apiPrograms.includes(main)) apis.add(part)
    void part.exited.then(() => apis.delete(part))
    onTestFinished(async () => {
      part.thaw()
      await part.kill()
    })
    return part
  }

  async function ready(part?: Part, which = 0): Promise<void> {
    await vi.waitFor(async () => {
      const answer = await get('/ready', which).catch((error) => new Response(String(error), { status: 599 }))
      expect(answer.status, `${await answer.text()}\n${part?.output()}`).toBe(200)
    }, startWithin)
    // Its tables are there now.
    await noteStatuses()
  }

  async function get(path: string, which = 0): Promise<Response> {
    return fetch(`${baseUrls[which]}${path}`, { signal: AbortSignal.timeout(10_000) })
  }

  async function withClient<Result>(use: (client: Client) => Promise<Result>): Promise<Result> {
    const connection = await Connection.connect({ address: temporalAddress() })
    return use(new Client({ connection })).finally(() => connection.close())
  }

  const deployment: Deployment = {
    modelsFileOf,
    baseUrl,
    baseUrls,
    dataDir,
    get production() {
      return production
    },
    moveTo(to) {
      production = to
      // The connections of the former one have broken or are idle.
      void store.close()
      store = probe()
      isNoted = false
    },
    platform,
    temporalAddress,
    launch,
    ready,
    async startApi(which = 0) {
      const part = launchWith({ HTTP_SERVER_ADDRESS: `127.0.0.1:${apiPorts[which]}` }, 'api/main.ts')
      await ready(part, which)
      return part
    },
    async startWorker(more = {}) {
      const part = launchWith(more, 'worker/main.ts')
      // Whether it polls shows in what it does; a test that needs to know waits for that.
      return part
    },
    async killTemporal() {
      await (production?.temporal ?? temporal!).kill()
    },
    restartTemporal: () => production?.temporal.start() ?? startOwn(),
    async submit(n, which = 0) {
      const answer = await fetch(`${baseUrls[which]}/async/v1/predict`, {
        method: 'POST',
        body: JSON.stringify({ model_name: 'm', inputs: { inputs: [n] } }),
      })
      const body = (await answer.json()) as { id?: string }
      return { status: answer.status, id: body.id ?? '' }
    },
    async task(id) {
      const answer = await get(`/task/${id}`)
      expect(answer.status, id).toBe(200)
      return (await answer.json()) as {
        status: string
        error_info: string
        outputs: unknown
        queue_id: string
      }
    },
    query: (sql, ...params) => store.query(sql, ...params),
    noteStatuses,
    declareDead: (processId) => store.declareDead(processId),
    takeStoreAway: () => store.takeAway(),
    async expectSettled(ids, { timeout = 60_000, interval = 250, endedByHand = [] } = {}) {
      const ended = async () => {
        const left = await deployment.looseEnds(endedByHand)
        expect(left, left.join('\n')).toEqual([])
      }
      await vi.waitFor(ended, { timeout, interval })
      const lost = await withClient((client) => foundOwnerless(client, taskQueue, new Set(endedByHand)))
      expect(lost, lost.join('\n')).toEqual([])
      const known = new Set(
        (await deployment.query<{ id: string }>('select id from predictions')).map(({ id }) => id),
      )
      expect(ids.filter((id) => !known.has(id))).toEqual([])
      const endedTwice = await deployment.query(
        `select id, count(*) as times from status_log where became in ('succeeded', 'failed', 'canceled')
         group by id having count(*) <> 1`,
      )
      expect(endedTwice).toEqual([])
    },
    looseEnds: (endedByHand = []) =>
      withClient((client) =>
        looseEnds({
          query: store.query,
          client,
          taskQueue,
          apis: apis.size,
          endedByHand: new Set(endedByHand),
        }),
      ),
    async client() {
      const connection = await Connection.connect({ address: temporalAddress() })
      onTestFinished(() => connection.close())
      return new Client({ connection })
    },
  }
  return deployment
}

/** Answers what it got as outputs. */
export const echo: Step = (call, response) => {
  const { inputs } = JSON.parse(call.body) as { inputs: unknown }
  response.writeHead(200, { 'content-type': 'application/json' })
  response.end(JSON.stringify({ model_name: 'm', outputs: inputs }))
}

function partOf(child: ChildProcess): Part {
  let text = ''
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
    })
  }
  const exited = once(child, 'exit').then(([code]) => code as number | null)
  const alive = () => child.exitCode === null && child.signalCode === null
  return {
    pid: child.pid!,
    output: () => text,
    async kill() {
      if (alive()) child.kill('SIGKILL')
      await exited
    },
    async stop() {
      if (alive()) child.kill('SIGTERM')
      return exited
    },
    freeze: () => void child.kill('SIGSTOP'),
    thaw: () => void child.kill('SIGCONT'),
    exited,
  }
}
