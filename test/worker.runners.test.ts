/** What a worker offers validations, by its settings: platforms, and the sweep of what is over. */
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { loadWorker } from '../config.ts'
import { type Job, jobNameOf } from '../runners/job.ts'
import { validationSettings } from '../worker/runners.ts'
import { makeDeployment } from './support/deployment.ts'
import { temporaryFolder } from './support/folders.ts'
import { kubernetesPlatform } from './support/kubernetes-jobs.ts'
import { soon, tinyJob, tinyServer } from './support/runner-jobs.ts'
import { candidateRequest, patience } from './support/validations.ts'

function settingsOf(env: Record<string, string>) {
  const dataDir = temporaryFolder('worker-runners')
  const warnings: string[] = []
  const config = loadWorker({ PERDURE_DATA_DIR: dataDir, PERDURE_RUNNER_HOST: 'here/1', ...env })
  const settings = validationSettings(config, (text) => warnings.push(text))
  return { ...settings, warnings, jobs: join(dataDir, 'jobs', 'here%2F1') }
}

const processJob = () =>
  tinyJob({ kind: 'process' }, 'good', { binary: { command: [process.execPath, tinyServer] } })
const never = async () => false

test('a host’s processes lie in a folder of its own, and those of ended validations are swept before they expire', async () => {
  const { runners, sweep, jobs } = settingsOf({})
  const job = processJob()
  const runner = runners.of(job)
  onTestFinished(async () => {
    await runners.of(job).stop(0, soon())
  })
  await runner.start()
  expect(existsSync(join(jobs, jobNameOf(job.key)))).toBe(true)
  expect(await sweep(new Date(), never)).toBe(0)
  expect(await sweep(new Date(), async (id) => id === job.ref.workflowId)).toBe(1)
  expect(await runners.of(job).observe()).toEqual({ state: 'Initial' })
  // Nobody brings it back: a late start finds the tombstone, until that has expired.
  await expect(runners.of(job).start()).rejects.toMatchObject({ code: 'ALREADY_STARTED' })
  expect(await sweep(new Date(Date.parse(job.expiresAt) + 1), never)).toBe(1)
  expect(existsSync(join(jobs, jobNameOf(job.key)))).toBe(false)
})

test('only what is accepted is offered', async () => {
  const { runners } = settingsOf({ PERDURE_RUNNERS: 'endpoint' })
  const { platform } = tinyJob({ kind: 'endpoint', address: '127.0.0.1:1', addresses: {}, lostAfterPolls: 3 })
  await runners.require(platform)
  expect(() => runners.of(processJob() satisfies Job)).toThrow(
    'servingSpec.platform.kind: this worker does not offer process (PERDURE_RUNNERS)',
  )
})

// H-01.
test('clusters are known by the names that the worker’s own settings give them', async () => {
  const env = { KUBERNETES_CLUSTERS: 'gpu=/nowhere/gpu.yaml, cpu=/nowhere/cpu%20only.yaml' }
  const { runners, sweep, warnings } = settingsOf(env)
  const on = (cluster: string) => ({ ...kubernetesPlatform, cluster })
  await expect(runners.require(on('gpu'))).rejects.toThrow('/nowhere/gpu.yaml')
  await expect(runners.require(on('cpu'))).rejects.toThrow('/nowhere/cpu only.yaml')
  await expect(runners.require(on('tpu'))).rejects.toThrow('knows no tpu (KUBERNETES_CLUSTERS)')
  await sweep(new Date(), never)
  expect(warnings).toHaveLength(2)
})

test('an engine that somebody named and that is away is told of once; one that nobody named, never', async () => {
  const named = settingsOf({ DOCKER_HOST: 'unix:///nowhere/docker.sock' })
  await named.sweep(new Date(), never)
  await named.sweep(new Date(), never)
  expect(named.warnings).toEqual([expect.stringContaining('leftovers on docker could not be looked for')])
  const silent = settingsOf({})
  mkdirSync(silent.jobs, { recursive: true })
  await silent.sweep(new Date(), never)
  expect(silent.warnings).toEqual([])
})

test('a worker refuses a platform that its API has let in, before it reads anything of the request', async () => {
  const deployment = await makeDeployment({ env: { PERDURE_RUNNERS: 'process' } })
  await deployment.startWorker({ PERDURE_RUNNERS: 'endpoint' })
  await deployment.startApi()
  const post = (request: unknown) =>
    fetch(`${deployment.baseUrl}/v1/validations`, { method: 'POST', body: JSON.stringify(request) })
  const answer = await post(candidateRequest({}, { model: { path: '/nowhere' } }))
  const { id } = (await answer.json()) as { id: string }
  expect(answer.status).toBe(202)
  await vi.waitFor(async () => {
    const seen = await fetch(`${deployment.baseUrl}/v1/validations/${id}`)
    expect(await seen.json()).toMatchObject({
      verdict: 'ERROR',
      error: {
        class: 'CONFIG_INVALID',
        message: 'servingSpec.platform.kind: this worker does not offer process (PERDURE_RUNNERS)',
      },
    })
  }, patience)
  const elsewhere = { kind: 'endpoint', address: '127.0.0.1:1' }
  const refused = await post({
    model: { uri: 's3://m', digest: 'v1' },
    servingSpec: { platform: elsewhere, binary: { kind: 'open-inference-v2' } },
  })
  const message = 'endpoint is not accepted here: PERDURE_RUNNERS names process'
  expect(await refused.json()).toMatchObject({
    code: 'CONFIG_INVALID',
    faults: [{ field: 'servingSpec.platform.kind', message }],
  })
}, 120_000)
