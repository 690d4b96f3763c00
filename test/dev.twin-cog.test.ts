/** Cog's own server behind the Replicate shape: create, poll and cancel of a real model. */
import { expect, onTestFinished, vi } from 'vitest'
import type { TwinModel } from '../dev/twins/job.ts'
import { startReplicateTwin } from '../dev/twins/replicate.ts'
import { makeHttpClient } from '../platforms/http.ts'
import type { CreatedJob, JobCall } from '../platforms/platform.ts'
import { makeReplicate } from '../platforms/replicate.ts'
import { pythonMissing, startCog } from './support/model-servers.ts'
import { requirement } from './support/require.ts'

const cog = requirement('python', () => pythonMissing('cog'))

interface CogAnswer {
  status?: string
  output?: unknown
  error?: string
  detail?: unknown
}

/** Cog frees its one slot a little late: 409 until then. */
function cogAt(baseUrl: string): TwinModel {
  return (input, signal) =>
    vi
      .waitFor(
        async () => {
          const response = await fetch(`${baseUrl}/predictions`, {
            method: 'POST',
            headers: { 'content-type': 'application/json' },
            body: JSON.stringify({ input }),
            signal,
          })
          if (response.status === 409) throw new Error('busy')
          const answer = (await response.json()) as CogAnswer
          if (answer.status === 'succeeded') return { output: answer.output }
          return { error: answer.error ?? JSON.stringify(answer.detail ?? answer) }
        },
        { timeout: 20_000, interval: 50 },
      )
      .then(({ output, error }) => {
        if (error !== undefined) throw new Error(error)
        return output
      })
}

cog.test(
  "a job on Cog's server is created, polled to its output, and fails with its words",
  async () => {
    const server = await startCog()
    onTestFinished(() => server.stop())
    const twin = await startReplicateTwin({ model: cogAt(server.baseUrl) })
    const apiKey = { reveal: () => 'key' }
    const platform = makeReplicate(makeHttpClient(), { address: twin.createUrl, apiKey })
    onTestFinished(async () => {
      await twin.close()
      await platform.close()
    })
    const target = {
      name: 'iris',
      version: '',
      platform: 'replicate' as const,
      address: twin.createUrl,
      upstreamName: 'v1',
      protocol: '' as const,
      timeoutMs: 60_000,
    }
    const call: JobCall = { target, signal: new AbortController().signal, remainingMs: 60_000 }
    const create = (inputs: string) => platform.createJob({ id: 'prediction-1', inputs, ...call })
    const follow = (job: CreatedJob) =>
      vi.waitFor(
        async () => {
          const state = await platform.pollJob(job, call)
          expect(['queued', 'running']).not.toContain(state.status)
          return state
        },
        { timeout: 30_000, interval: 20 },
      )

    const good = await follow(await create('{"sl":5.1}'))
    expect(good.status).toBe('succeeded')
    if (good.status === 'succeeded') expect(JSON.parse(good.outputs).output).toBeCloseTo(1.77, 2)
    const bad = await follow(await create('{"sl":"long"}'))
    expect(bad.status).toBe('failed')
    if (bad.status === 'failed') expect(bad.error.message).toContain('TypeError')
  },
  120_000,
)
