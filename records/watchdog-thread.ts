/** The thread of watchdog.ts: compares beats of the main loop with its own ticks and kills the process. */
import { workerData } from 'node:worker_threads'
import type { WatchdogOptions } from './watchdog.ts'

const { beats, tickMs, stallTicks }: WatchdogOptions & { beats: Int32Array } = workerData
let seen = -1
let silentTicks = 0

setInterval(() => {
  const beat = Atomics.load(beats, 0)
  silentTicks = beat === seen ? silentTicks + 1 : 0
  seen = beat
  if (silentTicks >= stallTicks) {
    process.stderr.write(
      `main loop stood still for ${(silentTicks * tickMs) / 1000} s: ending this process\n`,
    )
    process.kill(process.pid, 'SIGKILL')
  }
}, tickMs)
