/**
 * An API process that does something to itself around its n-th `admit`: `kill-after` ends it when the write is done,
 * `freeze-before` stops it (SIGSTOP) just before. Arguments: mode and n.
 */
import { randomBytes } from 'node:crypto'
import { exitDead, startApi } from '../../api/main.ts'
import { loadApi } from '../../config.ts'
import { makeLogger } from '../../logging.ts'
import { makeMetrics } from '../../metrics.ts'
import { makePlatforms } from '../../platforms/platforms.ts'
import { makeRouting } from '../../platforms/routing.ts'
import { makeHeldCalls } from '../../records/held-calls.ts'
import { openStore } from '../../records/open.ts'
import type { Store } from '../../records/store.ts'
import { makeTerminalWaiter } from '../../records/terminal-waiter.ts'
import { crashingStore } from './crashing-store.ts'

const [mode = '', count = '1'] = process.argv.slice(2)
const config = loadApi()
const log = makeLogger(config)
const opened = await openStore(config.store)
const store =
  mode === 'kill-after' ? crashingStore(opened, 'admit', Number(count)) : freezing(opened, Number(count))
const processId = `api-${randomBytes(6).toString('hex')}`
await store.registerProcess(processId, 'api')
await startApi(config, {
  store,
  held: makeHeldCalls(store, processId),
  waiter: makeTerminalWaiter(store),
  processId,
  platforms: makePlatforms(Object.values(config.platforms)),
  routing: makeRouting({ fallback: config.platform, explicitFallback: true }),
  metrics: makeMetrics(),
  log,
  onDead: () => exitDead(log),
})

function freezing(store: Store, n: number): Store {
  let calls = 0
  return new Proxy(store, {
    get(target, name, receiver) {
      const member: unknown = Reflect.get(target, name, receiver)
      if (name !== 'admit' || typeof member !== 'function') return member
      return (...args: unknown[]) => {
        calls++
        if (calls === n) process.kill(process.pid, 'SIGSTOP')
        return member.apply(target, args) as unknown
      }
    },
  })
}
