/** How every process of Perdure begins and ends: signals, order, exit codes, one clear line per fault. Starts nothing itself. */
import { ConfigError } from './config.ts'

/** A terminal sends Ctrl-C to npm and to what npm runs, and npm passes it on: within this time it is one. */
const oneSignalMs = 1_000

/** Fires at the first SIGTERM or SIGINT; a second one ends the process at once. */
export function stopOnSignals(): AbortSignal {
  const stop = new AbortController()
  let firstMs: number | undefined
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      firstMs ??= performance.now()
      // What runs on is settled by the guard, as after a crash.
      if (performance.now() - firstMs > oneSignalMs) process.exit(130)
      stop.abort()
    })
  }
  return stop.signal
}

const parentLookMs = 500

/** Fires when the process that started this one is gone, however it ended. */
export function parentGone(): AbortSignal {
  const gone = new AbortController()
  const { ppid } = process
  const look = setInterval(() => {
    if (process.ppid === ppid) return
    clearInterval(look)
    gone.abort()
  }, parentLookMs)
  look.unref()
  return gone.signal
}

/** Resolves when the signal has fired. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

/** What ends of a process, in this order; one that is only API or only worker has only that part. */
export interface Ending {
  /** Nothing more is accepted; what the API answers itself ends. */
  drain?(): Promise<unknown> | undefined
  /** Nothing more is taken; activities end. */
  stopWorkers?(): Promise<unknown> | undefined
  /** Gives up the process's row in the store. */
  leave(): Promise<unknown>
}

/** A process leaves after its last activity: who has left may take nothing, and others take over what it still runs. */
export async function drainAndLeave({ drain, stopWorkers, leave }: Ending): Promise<void> {
  try {
    await drain?.()
  } finally {
    try {
      await stopWorkers?.()
    } finally {
      await leave()
    }
  }
}

/** Runs until it ends; the exit code. Faults of settings are printed as they are, other errors behind `name`. */
export async function runToExit(name: string, run: (stop: AbortSignal) => Promise<void>): Promise<number> {
  try {
    await run(stopOnSignals())
    return 0
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error)
    process.stderr.write(error instanceof ConfigError ? `${text}\n` : `${name}: ${text}\n`)
    return 1
  }
}
