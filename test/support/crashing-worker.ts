/**
 * A worker process that kills itself right after the n-th store write of one kind: the write is done, nothing after it.
 * Arguments: method (`take`, `transition` …), n, and `before` if it is to die just before the write. Everything else is the product's own worker.
 */
import { randomBytes } from 'node:crypto'
import { loadWorker } from '../../config.ts'
import { makeLogger } from '../../logging.ts'
import { makeMetrics } from '../../metrics.ts'
import { makePlatforms } from '../../platforms/platforms.ts'
import { makeRouting } from '../../platforms/routing.ts'
import { makeHeldCalls } from '../../records/held-calls.ts'
import { openStore } from '../../records/open.ts'
import { runWorkers } from '../../worker/main.ts'
import { crashingStore } from './crashing-store.ts'

const [method = '', count = '1', moment] = process.argv.slice(2)
const config = loadWorker()
const store = crashingStore(
  await openStore(config.store),
  method,
  Number(count),
  moment === 'before' ? moment : 'after',
)
const processId = `worker-${randomBytes(6).toString('hex')}`
await store.registerProcess(processId, 'worker')
await store.openProcess(processId)
const workers = await runWorkers(config, {
  store,
  held: makeHeldCalls(store, processId),
  processId,
  platforms: makePlatforms(Object.values(config.platforms)),
  routing: makeRouting({ fallback: config.platform, explicitFallback: true }),
  metrics: makeMetrics(),
  log: makeLogger(config),
  apiUrl: () => config.apiUrl,
})
await workers.ended
