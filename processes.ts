/** How every process of Perdure begins and ends: signals, exit codes, one clear line per fault. Starts nothing itself. */
import { ConfigError } from './config.ts'

/** Fires at the first SIGTERM or SIGINT; a second one ends the process at once. */
export function stopOnSignals(): AbortSignal {
  const stop = new AbortController()
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      // What runs on is settled by the guard, as after a crash.
      if (stop.signal.aborted) process.exit(130)
      stop.abort()
    })
  }
  return stop.signal
}

/** Resolves when the signal has fired. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
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
