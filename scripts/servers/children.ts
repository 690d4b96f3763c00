/** Finds the processes that a server has started. Ends none. */
import { spawnSync } from 'node:child_process'

/** Processes that this one has started, as far as they run. */
export function childrenOf(parent: number): number[] {
  const { stdout } = spawnSync('ps', ['-o', 'pid=', '--ppid', String(parent)], { encoding: 'utf8' })
  return stdout
    .split('\n')
    .map(Number)
    .filter((pid) => pid > 0)
}
