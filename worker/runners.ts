/** What this worker offers validations: its runners, its secrets, and one sweep over all platforms. Composes only. */
import { join } from 'node:path'
import type { WorkerConfig } from '../config.ts'
import { makeRunners } from '../runners/index.ts'
import type { ValidationSettings } from './validation.ts'

export function validationSettings(
  config: Pick<WorkerConfig, 'runner' | 'store'>,
  warn: (text: string) => void,
): ValidationSettings {
  const { host, environment, dockerHost, kubeconfig, secrets } = config.runner
  const process = { root: join(config.store.dataDir, 'jobs'), env: { ...environment } }
  const docker = dockerHost === '' ? {} : { baseUrl: dockerHost }
  const kubernetes = kubeconfig === '' ? {} : { kubeconfig }
  // Where nobody has named an engine or a cluster, there may be none: nothing of ours is swept there.
  const swept = [
    makeRunners({ process }),
    ...(dockerHost === '' ? [] : [makeRunners({ docker })]),
    ...(kubeconfig === '' ? [] : [makeRunners({ kubernetes })]),
  ]
  return {
    runners: makeRunners({ process, docker, kubernetes }),
    host,
    secret: (name) => secrets[name]?.reveal(),
    async sweep(now) {
      let removed = 0
      for (const runners of swept) {
        try {
          for (const { removed: jobs, failed } of Object.values(await runners.sweep(now))) {
            removed += jobs.length
            for (const { job, error } of failed) warn(`expired job ${job} could not be removed: ${error}`)
          }
        } catch (error) {
          warn(`expired jobs could not be looked for: ${error instanceof Error ? error.message : error}`)
        }
      }
      return removed
    },
  }
}
