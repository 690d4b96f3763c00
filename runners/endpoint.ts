/** "Runs" a server that is already up: Scheduled and Running are one, stop removes nothing. Watches that it stays up. */
import { connect } from 'node:net'
import { ServiceError } from '../contracts/errors.ts'
import type { PlatformOf } from '../contracts/validation-serving.ts'
import type { Job } from './job.ts'
import { makeRunner, type RunnerOptions } from './lifecycle.ts'
import type { Runner } from './runner.ts'

const connectMs = 2000

export function makeEndpointRunner(job: Job, options: RunnerOptions = {}): Runner {
  const platform = endpointOf(job)
  const endpoints = { http: platform.address, ...platform.addresses }
  let started = options.from !== undefined && options.from !== 'Initial'
  let refusals = 0

  return makeRunner(
    job,
    {
      async create() {
        started = true
        const { address } = platform
        return { jobKey: job.key, platformRef: address, createdAt: new Date().toISOString(), adopted: false }
      },
      async inspect() {
        if (!started) return undefined
        refusals = (await refuses(platform.address)) ? refusals + 1 : 0
        if (refusals < platform.lostAfterPolls) {
          return { state: 'Running', endpoints, reason: 'the server is always up', peakMemoryBytes: null }
        }
        return {
          state: 'Aborted',
          failure: 'JOB_ABORTED',
          reason: 'endpoint lost',
          message: `connection refused ${refusals} times in a row`,
          peakMemoryBytes: null,
        }
      },
      async logs() {
        throw new ServiceError('not_implemented', 'the logs of a server that was already up are not ours')
      },
      async remove() {
        return { gone: true, killed: false, leftovers: [] }
      },
      removeAgainMs: () => 0,
      close() {},
    },
    options,
  )
}

function endpointOf(job: Job): PlatformOf<'endpoint'> {
  if (job.platform.kind === 'endpoint') return job.platform
  throw new ServiceError('CONFIG_INVALID', 'servingSpec.platform.kind: is not endpoint')
}

/** Only a refusal counts as lost: a server that is slow to accept is still there. */
function refuses(address: string): Promise<boolean> {
  const at = address.lastIndexOf(':')
  const host = address.slice(0, at).replace(/^\[(.*)\]$/, '$1')
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(address.slice(at + 1)) })
    const end = (lost: boolean) => {
      socket.destroy()
      resolve(lost)
    }
    socket.setTimeout(connectMs, () => end(false))
    socket.once('connect', () => end(false))
    socket.once('error', (error) => end('code' in error && error.code === 'ECONNREFUSED'))
  })
}
