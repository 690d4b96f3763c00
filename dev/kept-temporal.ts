/** Keeps the Temporal server of `npm start` alive: one that ends is started again, until it has ended too often. */
import { setTimeout as sleep } from 'node:timers/promises'
import { StartError } from './start-error.ts'
import { startTemporal, type TemporalOptions, type TemporalServer } from './temporal-server.ts'

export interface KeptTemporal extends Pick<TemporalServer, 'address' | 'uiUrl'> {
  /** Rejects once the server is no longer started again. */
  lost: Promise<never>
  stop(): Promise<void>
}

/** In a minute. */
const mostRestarts = 5
const minuteMs = 60_000
/** A start that fails at once is not repeated at once. */
const pauseMs = 1_000

/** @throws StartError as `startTemporal` does, for the first start. */
export async function keepTemporal(
  options: TemporalOptions,
  warn: (text: string) => void,
): Promise<KeptTemporal> {
  const first = await startTemporal(options)
  const { address, uiUrl } = first
  const onSamePorts = { ...options, port: portOf(address), uiPort: portOf(uiUrl) }
  let starting = Promise.resolve(first)
  let isStopping = false

  async function keep(): Promise<never> {
    let restarts: number[] = []
    for (;;) {
      const how = await starting.then(ended, reasonOf)
      // Whoever stops it waits for it as well.
      if (isStopping) return new Promise(() => undefined)
      restarts = restarts.filter((at) => at > performance.now() - minuteMs)
      if (restarts.length === mostRestarts) {
        throw new StartError(
          `${how}; Temporal was started again ${mostRestarts} times within a minute (log: ${options.logFile})`,
        )
      }
      restarts.push(performance.now())
      warn(`${how}: it is started again on the same data`)
      starting = startTemporal(onSamePorts)
    }
  }

  async function ended(server: TemporalServer): Promise<string> {
    return `the Temporal server ${await server.exited}`
  }

  async function reasonOf(error: unknown): Promise<string> {
    await sleep(pauseMs)
    return error instanceof Error ? error.message : String(error)
  }

  const lost = keep()
  // Whoever does not look learns of it from everything else.
  lost.catch(() => undefined)
  return {
    address,
    uiUrl,
    lost,
    async stop() {
      isStopping = true
      const server = await starting.catch(() => undefined)
      await server?.stop()
    },
  }
}

function portOf(address: string): number {
  return Number(address.split(':').at(-1))
}
