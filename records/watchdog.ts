/** Ends this process when its main loop stands still: what it holds must not stay held for ever. One per process. */
import { url as inspectorUrl } from 'node:inspector'
import { Worker } from 'node:worker_threads'

export interface WatchdogOptions {
  tickMs: number
  /** Ticks of the thread without one of the main loop. Counted, so that a frozen and thawed process lives on. */
  stallTicks: number
}

const defaults: WatchdogOptions = { tickMs: 500, stallTicks: 60 }
let users = 0
let stopThread: (() => void) | undefined

/** Returns what stops it again, to be called once. */
export function startWatchdog(options: WatchdogOptions = defaults): () => void {
  // Whoever sits at a breakpoint stands still on purpose.
  if (inspectorUrl() !== undefined) return () => undefined
  if (users++ === 0) stopThread = startThread(options)
  let stopped = false
  return () => {
    if (stopped) return
    stopped = true
    if (--users === 0) stopThread?.()
  }
}

function startThread({ tickMs, stallTicks }: WatchdogOptions): () => void {
  const beats = new Int32Array(new SharedArrayBuffer(4))
  const beating = setInterval(() => Atomics.add(beats, 0, 1), tickMs)
  beating.unref()
  const file = import.meta.url.endsWith('.ts') ? './watchdog-thread.ts' : './watchdog-thread.js'
  const thread = new Worker(new URL(file, import.meta.url), {
    workerData: { beats, tickMs, stallTicks },
    execArgv: [],
  })
  thread.unref()
  return () => {
    clearInterval(beating)
    void thread.terminate()
  }
}
