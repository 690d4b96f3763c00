/** Keeps a process running as an orchestrator would: whoever ends is started again after a pause. */
import { setTimeout as delay } from 'node:timers/promises'

/** One start of the process. */
export interface Started {
  /** Settles when it is gone, for whatever reason. */
  ended: Promise<void>
  kill(): Promise<void>
  /** An orderly end. */
  stop(): Promise<void>
}

export interface Supervised {
  name: string
  /** SIGKILL, and gone; it is started again after the pause. */
  kill(): Promise<void>
  /** Times it ended without having been killed from here, a start that failed included. */
  endedAlone(): number
  /** Runs, and does what it is for. */
  ready(): Promise<boolean>
  /** No further starts, and an orderly end. */
  stop(): Promise<void>
}

export interface SuperviseOptions {
  name: string
  /** May reject: then it is tried again. */
  start(): Promise<Started>
  ready(): Promise<boolean>
  pauseMs: number
}

export function supervise({ name, start, ready, pauseMs }: SuperviseOptions): Supervised {
  let current: Started | undefined
  let stopping = false
  let killed = false
  let alone = 0

  async function run(): Promise<void> {
    while (!stopping) {
      current = await start().catch(() => undefined)
      // Told to stop while it started.
      if (stopping) await current?.stop()
      await current?.ended
      current = undefined
      if (!killed && !stopping) alone++
      killed = false
      if (!stopping) await delay(pauseMs)
    }
  }
  const running = run()

  return {
    name,
    endedAlone: () => alone,
    ready: async () => current !== undefined && (await ready().catch(() => false)),
    async kill() {
      // One that is between two starts is as dead as it can be.
      if (current === undefined) return
      killed = true
      await current.kill()
    },
    async stop() {
      stopping = true
      await current?.stop()
      await running
    },
  }
}
