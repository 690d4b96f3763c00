/** What this worker offers validations: its runners, its secrets, and one sweep over all platforms. Composes only. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { WorkerConfig } from '../config.ts'
import type { PlatformKind } from '../contracts/validation-serving.ts'
import { makeRunners, type RunnerSettings } from '../runners/index.ts'
import type { ValidationSettings } from './validation.ts'

const engineSocket = '/var/run/docker.sock'

export function validationSettings(
  config: Pick<WorkerConfig, 'runner' | 'store'>,
  warn: (text: string) => void,
): ValidationSettings {
  const { host, kinds, named, waitMs, environment, dockerHost, kubeconfig, clusters, secrets } = config.runner
  // Workers of several hosts may share a data folder; a host's processes are its own.
  const root = join(config.store.dataDir, 'jobs', encodeURIComponent(host))
  const all: Required<RunnerSettings> = {
    process: { root, env: { ...environment } },
    docker: dockerHost === '' ? {} : { baseUrl: dockerHost },
    kubernetes: { clusters, ...(kubeconfig !== '' && { kubeconfig }) },
    endpoint: true,
  }
  const offered = makeRunners({
    endpoint: kinds.includes('endpoint'),
    ...(kinds.includes('process') && { process: all.process }),
    ...(kinds.includes('docker') && { docker: all.docker }),
    ...(kinds.includes('kubernetes') && { kubernetes: all.kubernetes }),
  })
  const used = new Set<PlatformKind>()
  /** An operator has said that it is there: what is wrong with it is worth a line. */
  const expected = {
    docker: dockerHost !== '' || (named && kinds.includes('docker')),
    kubernetes:
      kubeconfig !== '' || Object.keys(clusters).length > 0 || (named && kinds.includes('kubernetes')),
  }
  const told = new Set<string>()

  function warnOnce(text: string): void {
    if (!told.has(text)) warn(text)
    told.add(text)
  }

  /** Processes always: some may have been started before the setting was another. */
  function swept(): RunnerSettings {
    return {
      process: all.process,
      ...((expected.docker || existsSync(engineSocket)) && { docker: all.docker }),
      ...((expected.kubernetes || used.has('kubernetes')) && { kubernetes: all.kubernetes }),
    }
  }

  return {
    runners: {
      ...offered,
      of(job, options) {
        used.add(job.platform.kind)
        return offered.of(job, options)
      },
    },
    host,
    hostWaitMs: waitMs,
    secret: (name) => secrets[name]?.reveal(),
    async sweep(now, isOver) {
      let count = 0
      for (const [kind, { removed, failed }] of Object.entries(
        await makeRunners(swept()).sweep(now, isOver),
      )) {
        count += removed.length
        for (const { job, error } of failed) {
          if (job !== '*') warnOnce(`job ${job}, which is over, could not be removed: ${error}`)
          else if (kind === 'process' || expected[kind as keyof typeof expected]) {
            warnOnce(`leftovers on ${kind} could not be looked for: ${error}`)
          }
        }
      }
      return count
    },
  }
}
