/** Provider jobs against the twins: created once, polled to every end, canceled, and the key sent nowhere else. */
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { codeOf, type ErrorCode, ServiceError } from '../contracts/errors.ts'
import { isFinalPoll } from '../contracts/jobs.ts'
import type { Scenario } from '../dev/twins/job.ts'
import { type ReplicateTwin, type ReplicateTwinOptions, startReplicateTwin } from '../dev/twins/replicate.ts'
import { type RunpodTwin, startRunpodTwin } from '../dev/twins/runpod.ts'
import { makeHttpClient } from '../platforms/http.ts'
import type { JobClientOptions } from '../platforms/job-client.ts'
import type {
  CallRequest,
  CreatedJob,
  JobCall,
  JobPlatform,
  JobState,
  ModelTarget,
} from '../platforms/platform.ts'
import { makeReplicate } from '../platforms/replicate.ts'
import { makeRunpod } from '../platforms/runpod.ts'
import { json, startScriptedServer } from './support/scripted-server.ts'

const apiKey = { reveal: () => 'r8_secret_key' }

interface Stage {
  platform: JobPlatform
  call: JobCall
  twin: ReplicateTwin | RunpodTwin
  create(inputs?: string, more?: Partial<CallRequest>): Promise<CreatedJob>
  /** One poll. */
  poll(job: CreatedJob): Promise<JobState>
  /** Polls until the job is over. */
  follow(job: CreatedJob): Promise<JobState>
  cancel(job: CreatedJob): Promise<void>
}

function stageOf(platform: JobPlatform, twin: ReplicateTwin | RunpodTwin, upstreamName: string): Stage {
  onTestFinished(async () => {
    await twin.close()
    await platform.close()
  })
  const target: ModelTarget = {
    name: 'painter',
    version: '',
    platform: platform.name,
    address: twin.origin,
    upstreamName,
    protocol: '',
    timeoutMs: 60_000,
  }
  const call: JobCall = { target, signal: new AbortController().signal, remainingMs: 60_000 }
  const poll = (job: CreatedJob) => platform.pollJob(job, call)
  return {
    platform,
    call,
    twin,
    create: (inputs = '{"prompt":"a cat"}', more = {}) =>
      platform.createJob({ id: 'prediction-1', inputs, ...call, ...more }),
    poll,
    follow: (job) =>
      vi.waitFor(
        async () => {
          const state = await poll(job)
          if (state.status === 'queued' || state.status === 'running') throw new Error('not over')
          return state
        },
        { timeout: 20_000, interval: 10 },
      ),
    cancel: (job) => platform.cancelJob(job, call),
  }
}

const stages = {
  async replicate(scenario: Scenario = {}, options: JobClientOptions & ReplicateTwinOptions = {}) {
    const twin = await startReplicateTwin({ apiKey: apiKey.reveal(), scenario, ...options })
    const platform = makeReplicate(makeHttpClient(), { address: twin.createUrl, apiKey }, options)
    return stageOf(platform, twin, 'version-1')
  },
  async runpod(scenario: Scenario = {}, options: JobClientOptions = {}) {
    const twin = await startRunpodTwin({ apiKey: apiKey.reveal(), scenario })
    const platform = makeRunpod(makeHttpClient(), { address: twin.baseUrl, apiKey }, options)
    return stageOf(platform, twin, 'endpoint-1')
  },
}

async function codeOfFailure(promise: Promise<unknown>): Promise<ErrorCode> {
  return promise.then(
    (value) => expect.fail(`must fail, but gave ${JSON.stringify(value)}`),
    (error: unknown) => codeOf(error),
  )
}

const routes = {
  replicate: { create: 'create', poll: 'get', cancel: 'cancel' },
  runpod: { create: 'run', poll: 'status', cancel: 'cancel' },
} as const

describe.each(['replicate', 'runpod'] as const)('%s', (name) => {
  const stage = stages[name]
  const route = routes[name]

  test('a job is created once and its output comes back digit for digit', async () => {
    const { create, follow, twin } = await stage()
    const job = await create('{"n":12345678901234567890,"x":1.10}')
    const state = await follow(job)
    expect(state).toMatchObject({
      status: 'succeeded',
      outputs: '{"output":{"n":12345678901234567890,"x":1.10}}',
      runningTime: expect.stringMatching(/^\d+\.\d{6}s$/),
    })
    expect(twin.callsOf(route.create)).toHaveLength(1)
    for (const { headers } of twin.calls) expect(headers.authorization).toBe('Bearer r8_secret_key')
    expect(twin.callsOf(route.create)[0]?.headers['idempotency-key']).toBe('prediction-1')
  })

  test('waiting and running are told apart', async () => {
    const { create, poll, twin } = await stage({ queueMs: 100, end: 'never' })
    const job = await create()
    expect(job.state.status).toBe('queued')
    await vi.waitFor(async () => expect((await poll(job)).status).toBe('running'), 5_000)
    twin.jobs[0]?.cancel()
  })

  test('a job that failed brings its own text, cleaned', async () => {
    const { create, follow } = await stage({
      end: 'failed',
      error: 'CUDA out of memory at http://10.1.2.3:8080/x with r8_secret_key',
    })
    const state = await follow(await create())
    expect(state.status).toBe('failed')
    if (state.status !== 'failed') return
    expect(state.error).toMatchObject({ code: 'platform_job_failed', legacyCode: 20000 })
    expect(state.error.message).toBe('CUDA out of memory at *** with ***')
  })

  test('a job canceled at the provider is canceled', async () => {
    const { create, follow } = await stage({ end: 'canceled' })
    expect(await follow(await create())).toEqual({ status: 'canceled', aborted: false })
  })

  test('our cancel reaches the provider, and once more is no error', async () => {
    const { create, cancel, follow, twin } = await stage({ end: 'never' })
    const job = await create()
    await cancel(job)
    expect(twin.jobs[0]?.phase).toBe('canceled')
    expect(await follow(job)).toEqual({ status: 'canceled', aborted: false })
    await cancel(job)
  })

  test('a job the provider does not know counts as canceled, and its poll as expired', async () => {
    const { cancel, create, poll } = await stage()
    const gone = { ...(await create()), jobId: 'nobody', hints: {} }
    await cancel(gone)
    expect(await codeOfFailure(poll(gone))).toBe('provider_result_expired')
  })

  test('a cancel the provider has not heard fails', async () => {
    const { cancel, create, twin } = await stage({ end: 'never' })
    const job = await create()
    twin.fault(route.cancel, 500, 429, 'reset', 401)
    expect(await codeOfFailure(cancel(job))).toBe('platform_error')
    expect(await codeOfFailure(cancel(job))).toBe('platform_busy')
    expect(await codeOfFailure(cancel(job))).toBe('platform_connection_lost')
    expect(await codeOfFailure(cancel(job))).toBe('platform_credentials')
    await cancel(job)
    expect(twin.jobs[0]?.phase).toBe('canceled')
  })

  test('bad moments while polling are told from the end of the job', async () => {
    const { create, follow, poll, twin } = await stage({ runMs: 1 }, { callTimeoutMs: 200 })
    const job = await create()
    const limit = { status: 429, headers: { 'retry-after': '2' } }
    twin.fault(route.poll, 'reset', 500, limit, 503, 408, 'garbage', 'hang')
    const errors: unknown[] = []
    for (let at = 0; at < 7; at++) errors.push(await poll(job).catch((error: unknown) => error))
    expect(errors.map(codeOf)).toEqual([
      'platform_connection_lost',
      'platform_error',
      'platform_busy',
      'platform_busy',
      'platform_timeout',
      'platform_bad_answer',
      'platform_timeout',
    ])
    expect(errors[2]).toMatchObject({ retryAfterMs: 2_000 })
    expect(errors.some(isFinalPoll)).toBe(false)
    expect((await follow(job)).status).toBe('succeeded')
  })

  test.each([401, 403, 404, 400])('status %i to a poll is the end', async (status) => {
    const { create, poll, twin } = await stage({ end: 'never' })
    const job = await create()
    twin.fault(route.poll, status)
    const error = await poll(job).catch((thrown: unknown) => thrown)
    expect(isFinalPoll(error)).toBe(true)
    twin.jobs[0]?.cancel()
  })

  test('a word that nobody knows is polled on', async () => {
    const { create, poll } = await stage({ replace: { status: 'paused' } })
    const job = await create()
    expect(await poll(job)).toEqual({ status: 'running', unknownWord: 'paused' })
  })

  test('an answer without a status is polled on', async () => {
    const { create, poll } = await stage({ omit: ['status'] })
    expect(await poll(await create())).toEqual({ status: 'running', unknownWord: '' })
  })

  test('times that are missing are left to be measured', async () => {
    const { create, follow } = await stage({
      omit: ['metrics', 'executionTime', 'urls', 'delayTime'],
      output: 'x',
    })
    expect(await follow(await create())).toEqual({
      status: 'succeeded',
      outputs: '{"output":"x"}',
      runningTime: '',
    })
  })

  test('success without any output fails with its own code', async () => {
    const { create, follow } = await stage({ omit: ['output'] })
    const state = await follow(await create())
    expect(state).toMatchObject({ status: 'failed', error: { code: 'provider_output_missing' } })
  })

  test('an output of null is an output', async () => {
    const { create, follow } = await stage({ output: null })
    expect(await follow(await create())).toMatchObject({ status: 'succeeded', outputs: '{"output":null}' })
  })

  test('a result that has expired is told', async () => {
    const { create, poll } = await stage({ runMs: 0, expireMs: 0 })
    const job = await create()
    await vi.waitFor(
      async () => {
        const outcome = await poll(job).catch((error: unknown) => error)
        const error = outcome instanceof ServiceError ? outcome : (outcome as { error?: unknown }).error
        expect(codeOf(error)).toBe('provider_result_expired')
      },
      { timeout: 5_000 },
    )
  })

  test.each([
    [400, 'platform_rejected'],
    [401, 'platform_credentials'],
    [429, 'platform_busy'],
    [500, 'platform_error'],
    [502, 'platform_bad_gateway'],
    [503, 'platform_busy'],
    ['reset', 'platform_connection_lost'],
    ['hang', 'platform_timeout'],
    ['garbage', 'platform_bad_answer'],
    ['lost', 'platform_connection_lost'],
  ] as const)('a creation that ends with %s is %s, after one call', async (fault, code) => {
    const { create, twin } = await stage({}, { callTimeoutMs: 200 })
    twin.fault(route.create, fault)
    expect(await codeOfFailure(create())).toBe(code)
    expect(twin.callsOf(route.create)).toHaveLength(1)
    expect(twin.jobs).toHaveLength(fault === 'lost' ? 1 : 0)
  })

  test('a creation that names no job is a bad answer', async () => {
    const { create } = await stage({ omit: ['id', 'urls'] })
    expect(await codeOfFailure(create())).toBe('platform_bad_answer')
  })

  test('our own time is over before the creation is answered', async () => {
    const { create, twin } = await stage()
    twin.fault(route.create, 'hang')
    expect(await codeOfFailure(create('{}', { remainingMs: 100 }))).toBe('prediction_timeout')
  })

  test('a job id with path characters stays one segment', async () => {
    const { create, poll, twin } = await stage()
    const job = { ...(await create()), jobId: '../x?y', hints: {} }
    expect(await codeOfFailure(poll(job))).toBe('provider_result_expired')
    expect(twin.calls.at(-1)?.path).toMatch(/\.\.%2Fx%3Fy$/)
  })

  test('without a key nothing is sent', async () => {
    const server = await startScriptedServer(json({}))
    onTestFinished(() => server.close())
    const make = name === 'replicate' ? makeReplicate : makeRunpod
    const platform = make(makeHttpClient(), {
      address: `${server.origin}/v1/predictions`,
      apiKey: { reveal: () => '' },
    })
    const bare = stageOf(platform, await startReplicateTwin(), 'x')
    expect(await codeOfFailure(bare.create())).toBe('platform_credentials')
    expect(server.connections).toBe(0)
  })

  test('these platforms document nothing', async () => {
    const { platform } = await stage()
    const target = {} as ModelTarget
    expect(await platform.docs(target, new AbortController().signal)).toBe('""')
  })
})

describe('replicate', () => {
  test('the creation carries version, input and a deadline just beyond ours', async () => {
    const { create, twin } = await stages.replicate()
    await create('{"a":1.0}', { remainingMs: 20_500 })
    const [call] = twin.callsOf('create')
    expect(call?.path).toBe('/v1/predictions')
    expect(call?.body).toBe('{"version":"version-1","input":{"a":1.0}}')
    expect(call?.headers['cancel-after']).toBe('31s')
  })

  test.each(['/v1/models/acme/cat/predictions', '/v1/deployments/acme/cat/predictions'])(
    '%s names the model by itself',
    async (path) => {
      const twin = await startReplicateTwin({ scenario: { omit: ['urls'] } })
      const platform = makeReplicate(makeHttpClient(), { address: `${twin.origin}${path}`, apiKey })
      const { create, follow, cancel } = stageOf(platform, twin, 'unused')
      const job = await create('{"a":1}')
      expect(twin.callsOf('create')[0]).toMatchObject({ path, body: '{"input":{"a":1}}' })
      expect((await follow(job)).status).toBe('succeeded')
      expect(twin.calls.at(-1)?.path).toBe(`/v1/predictions/${job.jobId}`)
      await cancel(job)
    },
  )

  test('addresses at another origin are never asked, and never get the key', async () => {
    const thief = await startScriptedServer(json({ status: 'succeeded', output: 'stolen' }))
    onTestFinished(() => thief.close())
    const forged = {
      get: `${thief.origin}/v1/predictions/x`,
      cancel: `${thief.origin}/cancel`,
      stream: `${thief.origin}/stream`,
    }
    const { create, follow, cancel, platform, twin } = await stages.replicate({
      output: 'mine',
      replace: { urls: forged },
    })
    const job = await create()
    expect(job.hints).toEqual({})
    const forgedLater = { ...job, hints: forged }
    expect(await follow(forgedLater)).toMatchObject({ outputs: '{"output":"mine"}' })
    await cancel(forgedLater)
    const call = {
      target: { timeoutMs: 5_000 } as ModelTarget,
      signal: new AbortController().signal,
      remainingMs: 5_000,
    }
    expect(await codeOfFailure(platform.streamJob(forgedLater, call)[Symbol.asyncIterator]().next())).toBe(
      'platform_unsupported',
    )
    expect(thief.connections).toBe(0)
    expect(twin.callsOf('cancel')).toHaveLength(1)
  })

  test.each(['http://user:pass@HOST/v1/predictions/x', 'ftp://HOST/x', 'not a url', ''])(
    'the address %j is not trusted',
    async (form) => {
      const { create, twin } = await stages.replicate()
      const address = form.replace('HOST', new URL(twin.origin).host)
      twin.fault('create', { status: 201, body: { id: 'abc', status: 'starting', urls: { get: address } } })
      expect((await create()).hints).toEqual({})
    },
  )

  test('an address at the configured origin is followed', async () => {
    const { create, poll, twin } = await stages.replicate()
    const job = await create()
    expect(job.hints.get).toBe(`${twin.origin}/v1/predictions/${job.jobId}`)
    await poll(job)
    expect(twin.callsOf('get')).toHaveLength(1)
  })

  test('a job is found by its address where the answer lacks an id', async () => {
    const { create, follow, twin } = await stages.replicate({ omit: ['id'] })
    const job = await create()
    expect(job.jobId).toBe(twin.jobs[0]?.id)
    expect((await follow(job)).status).toBe('succeeded')
  })

  test('redirects are not followed', async () => {
    const thief = await startScriptedServer(json({}))
    onTestFinished(() => thief.close())
    const { create, poll, twin } = await stages.replicate()
    const job = await create()
    twin.fault('get', { status: 302, headers: { location: `${thief.origin}/x` } })
    expect(await codeOfFailure(poll(job))).toBe('platform_bad_answer')
    expect(thief.connections).toBe(0)
  })

  test('a running job shows its output and the end of its logs, an ended one its logs', async () => {
    const logs = `${'x'.repeat(150_000)}the end`
    const { create, poll, follow, twin } = await stages.replicate({ end: 'never', chunks: ['a', 'b'], logs })
    const job = await create()
    await vi.waitFor(async () => {
      const { progress } = await poll(job)
      expect(progress?.output).toBe('["a","b"]')
      expect(progress?.logs).toMatch(/the end$/)
      expect(progress?.logs).toHaveLength(100_000)
    }, 5_000)
    twin.jobs[0]?.cancel()
    expect(await follow(job)).toMatchObject({ status: 'canceled', progress: { output: '["a","b"]' } })
    const done = await create(JSON.stringify({ twin: { logs: 'said', output: [1] } }))
    expect(await follow(done)).toMatchObject({ status: 'succeeded', progress: { logs: 'said' } })
  })

  test('what would be too much, or is nothing, is no progress', async () => {
    const { create, poll } = await stages.replicate({ end: 'never' })
    for (const output of [null, [], 'y'.repeat(1_000_001)]) {
      const job = await create(JSON.stringify({ twin: { end: 'never', replace: { output } } }))
      expect(await poll(job)).not.toHaveProperty('progress')
    }
  })

  test('a deadline before the start is aborted', async () => {
    const { create, poll } = await stages.replicate({ replace: { status: 'aborted' } })
    expect(await poll(await create())).toEqual({ status: 'canceled', aborted: true })
  })

  test('throttling says in words how long to wait', async () => {
    const { create } = await stages.replicate({}, { createsPerMinute: 1 })
    await create()
    const error = await create().catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'platform_busy', retryAfterMs: 10_000 })
  })

  test('a job that was over when its creation was answered needs no poll', async () => {
    const { create, twin } = await stages.replicate()
    const body = { id: 'abc', status: 'succeeded', output: ['a'], metrics: { predict_time: 1.25 } }
    twin.fault('create', { status: 201, body })
    expect((await create()).state).toEqual({
      status: 'succeeded',
      outputs: '{"output":["a"]}',
      runningTime: '1.250000s',
    })
  })
})

describe('runpod', () => {
  test('a running job that tells of its progress shows it as output', async () => {
    const { create, poll } = await stages.runpod({ end: 'never', replace: { output: '50 %' } })
    const job = await create()
    await vi.waitFor(async () => {
      expect(await poll(job)).toEqual({ status: 'running', progress: { output: '"50 %"' } })
    }, 5_000)
  })

  test('the creation carries input and a policy just beyond our deadline', async () => {
    const { create, twin } = await stages.runpod()
    await create('{"a":1.0}', { remainingMs: 20_500 })
    const [call] = twin.callsOf('run')
    expect(call?.path).toBe('/v2/endpoint-1/run')
    expect(call?.body).toBe('{"input":{"a":1.0},"policy":{"executionTimeout":30500,"ttl":30500}}')
  })

  test('a job out of time at the provider failed for lack of time', async () => {
    const { create, poll } = await stages.runpod({ replace: { status: 'TIMED_OUT' } })
    expect(await poll(await create())).toMatchObject({
      status: 'failed',
      error: { code: 'platform_timeout' },
    })
  })

  test('a worker error in JSON is shown as its message', async () => {
    const { create, follow } = await stages.runpod({
      end: 'failed',
      error: '{"error_type":"<class \'ValueError\'>","error_message":"bad prompt","error_traceback":"..."}',
    })
    const state = await follow(await create())
    expect(state).toMatchObject({ status: 'failed', error: { message: 'bad prompt' } })
  })

  test('a job that waits is explained by the queue and the workers', async () => {
    const { create, platform, call } = await stages.runpod({ queueMs: 60_000 })
    await create()
    expect(await platform.diagnose?.(call)).toBe(
      '1 jobs in the queue, 0 in progress; workers: 0 running, 1 idle',
    )
  })

  test('many cancels at once keep to the limit of the provider', async () => {
    const { create, cancel, twin } = await stages.runpod({ end: 'never' })
    const job = await create()
    const cancels = Array.from({ length: 25 }, () => cancel(job))
    await Promise.all(cancels)
    const [first, ...rest] = twin.callsOf('cancel')
    expect(rest).toHaveLength(24)
    expect((rest.at(-1)?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThanOrEqual(300)
  })
})
