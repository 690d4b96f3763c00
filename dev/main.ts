/** `npm start`: embedded Temporal, a sample model server, worker and API from one command; Ctrl-C ends them all. */
import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { exitDead, startApi } from '../api/main.ts'
import { environment, loadStart, type StartConfig } from '../config.ts'
import { makeLogger } from '../logging.ts'
import { makeMetrics } from '../metrics.ts'
import { openRouting } from '../platforms/open-routing.ts'
import { makePlatforms } from '../platforms/platforms.ts'
import { aborted, drainAndLeave, type Ending, parentGone, runToExit } from '../processes.ts'
import { makeHeldCalls } from '../records/held-calls.ts'
import { makeMirror } from '../records/mirror.ts'
import { openStore } from '../records/open.ts'
import { makeTerminalWaiter } from '../records/terminal-waiter.ts'
import { startTracing } from '../tracing/start.ts'
import { runWorkers } from '../worker/main.ts'
import { installRuntime } from '../worker/runtime.ts'
import { type KeptTemporal, keepTemporal } from './kept-temporal.ts'
import { startModelServer } from './model-server.ts'
import { recoverAtStart } from './recover-at-start.ts'
import { StartError } from './start-error.ts'
import { findTemporal } from './temporal-binary.ts'

/** Where what was started listens. */
export interface Addresses {
  api: string
  /** Empty when Temporal is not ours. */
  temporalUi: string
  model: string
}

type Undo = () => Promise<unknown> | unknown

/**
 * Starts everything, calls `ready`, waits for `stop`, ends everything in reverse order. Also when a part of it fails,
 * at the start or later: nothing is left running.
 */
export async function runAll(
  config: StartConfig,
  env: Readonly<Record<string, string | undefined>>,
  stop: AbortSignal,
  ready: (addresses: Addresses) => void,
): Promise<void> {
  const undo: Undo[] = []
  const say = (line: string) => void process.stderr.write(`${line}\n`)
  const broken = Promise.withResolvers<never>()
  let fault: unknown
  async function run(): Promise<void> {
    ready(await startAll(config, env, { undo, say, onBroken: broken.reject }))
    await aborted(stop)
    say('stopping …')
  }
  await Promise.race([run(), broken.promise]).catch((error: unknown) => {
    fault = error
  })
  for (const step of undo.toReversed()) {
    try {
      await step()
    } catch (error) {
      fault ??= error
    }
  }
  if (fault !== undefined) throw fault
}

interface Reports {
  /** Grows by what is to be done at the end. */
  undo: Undo[]
  say(line: string): void
  /** Something without which nothing goes on has ended for good. */
  onBroken(error: unknown): void
}

async function startAll(
  given: StartConfig,
  env: Readonly<Record<string, string | undefined>>,
  { undo, say, onBroken }: Reports,
): Promise<Addresses> {
  const startedMs = performance.now()
  const { dataDir } = given.store
  makeFolder(dataDir)
  const log = makeLogger(given)
  undo.push(() => log.flush())
  for (const warning of given.warnings) log.warn(warning)
  const metrics = makeMetrics()
  installRuntime(log, metrics)
  const tracing = await startTracing(given.tracing, 'perdure', (text) => log.warn(text))
  undo.push(() => tracing.stop())

  const [temporal, model] = await bothOrNone(
    undo,
    startEmbeddedTemporal(given, env, say, (text) => log.warn(text)),
    startModelServer({
      module: fileURLToPath(new URL(`../examples/iris/model.${extension}`, import.meta.url)),
      port: given.modelPort,
      logFile: join(dataDir, 'model-server.log'),
      pidFile: join(dataDir, 'model-server.pid'),
    }),
  )
  temporal?.lost.catch(onBroken)
  const config = withAddresses(given, temporal?.address, model.address)

  const mirror = config.mirror && makeMirror(config.mirror)
  const store = await openStore(config.store, { mirror: mirror !== undefined })
  undo.push(
    () => mirror?.close(),
    () => store.close(),
  )
  const processId = `api-${randomBytes(6).toString('hex')}`
  await store.registerProcess(processId, 'api')
  const ending: Ending = { leave: () => store.leaveProcess(processId) }
  const held = makeHeldCalls(store, processId)
  const waiter = makeTerminalWaiter(store)
  undo.push(
    () => held.close(),
    () => waiter.close(),
  )
  const platforms = makePlatforms(Object.values(config.platforms))
  undo.push(
    () => platforms.close(),
    () => drainAndLeave(ending),
  )
  const routing = await openRouting(config, log)
  const parts = {
    store,
    held,
    waiter,
    processId,
    platforms,
    routing,
    metrics,
    log,
    ...(mirror && { mirror }),
  }

  let apiUrl = ''
  const workers = await runWorkers(config, { ...parts, apiUrl: () => apiUrl })
  ending.stopWorkers = () => workers.stop()
  workers.ended.catch(onBroken)
  await workers.started
  undo.push(await recoverAtStart(config, { ...parts, startedMs }))
  const api = await startApi(config, { ...parts, onDead: () => exitDead(log) })
  apiUrl = api.url
  ending.drain = () => api.drain()
  await api.opened
  return { api: api.url, temporalUi: temporal?.uiUrl ?? '', model: `http://${model.address}` }
}

const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'

function makeFolder(dataDir: string): void {
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 })
  } catch (error) {
    const reason = error instanceof Error && 'code' in error ? String(error.code) : 'unknown reason'
    throw new StartError(`PERDURE_DATA_DIR: the folder ${dataDir} cannot be made (${reason})`)
  }
}

async function startEmbeddedTemporal(
  config: StartConfig,
  env: Readonly<Record<string, string | undefined>>,
  say: (line: string) => void,
  warn: (text: string) => void,
): Promise<KeptTemporal | undefined> {
  if (config.embeddedTemporal === undefined) return undefined
  const { port, uiPort } = config.embeddedTemporal
  const { path } = await findTemporal({ env, say })
  const { dataDir } = config.store
  const options = {
    binary: path,
    dbFilename: join(dataDir, 'temporal.db'),
    port,
    uiPort,
    namespace: config.temporal.namespace,
    logFile: join(dataDir, 'temporal.log'),
  }
  return keepTemporal(options, warn)
}

interface Stoppable {
  stop(): Promise<void>
}

/** Starts two parts side by side; if one fails, the other is stopped by `undo` all the same. */
async function bothOrNone<A extends Stoppable | undefined, B extends Stoppable>(
  undo: Undo[],
  first: Promise<A>,
  second: Promise<B>,
): Promise<[A, B]> {
  const noted = <T extends Stoppable | undefined>(start: Promise<T>) =>
    start.then((part) => {
      if (part !== undefined) undo.push(() => part.stop())
      return part
    })
  const [one, other] = await Promise.allSettled([noted(first), noted(second)])
  if (one.status === 'rejected') throw one.reason
  if (other.status === 'rejected') throw other.reason
  return [one.value, other.value]
}

/** Ports may have been chosen by the system: the settings learn what they became. */
function withAddresses(config: StartConfig, temporal: string | undefined, model: string): StartConfig {
  const sample = `127.0.0.1:${config.modelPort}`
  const v2 = { ...config.platforms.v2, ...(config.platforms.v2.address === sample && { address: model }) }
  return {
    ...config,
    platforms: { ...config.platforms, v2 },
    platform: config.platform.platform === 'v2' ? v2 : config.platform,
    temporal: { ...config.temporal, ...(temporal !== undefined && { address: temporal }) },
  }
}

function printAddresses({ api, temporalUi, model }: Addresses): void {
  const body = '{"model_name":"iris","inputs":{"inputs":[[5.1,3.5,1.4,0.2]]}}'
  const lines = [
    `API  ${api}`,
    `Docs  ${api}/docs`,
    ...(temporalUi === '' ? [] : [`Temporal UI  ${temporalUi}`]),
    `Model  ${model}`,
    `curl -sS ${api}/v1/predict -H 'Prefer: wait' -H 'Content-Type: application/json' -d '${body}'`,
  ]
  process.stdout.write(`${lines.join('\n')}\n`)
}

/** `npm start`; resolves when everything has stopped. */
export async function start(stop: AbortSignal): Promise<void> {
  const env = environment()
  await runAll(loadStart(env), env, stop, printAddresses)
}

if (import.meta.main) {
  // npm may be killed: what it started ends all the same.
  const gone = parentGone()
  process.exit(await runToExit('perdure', (stop) => start(AbortSignal.any([stop, gone]))))
}
