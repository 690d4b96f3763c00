/**
 * What the predecessor gets wrong (prediction-agent specification, section 8), for the platforms that make jobs: through
 * the HTTP surface, real Temporal, a real store, provider twins. The number in a title is the specification's. Those about
 * jobs themselves are in flights.job-lane and e2e/job-kills, those about streams in flights.streams.
 */
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import type { Scenario } from '../dev/twins/job.ts'
import { type InProcess, type InProcessOptions, startInProcess } from './support/in-process.ts'
import { type Provider, providerKey, providers } from './support/providers.ts'
import { json, resetAfterRequest, type Step, startScriptedServer } from './support/scripted-server.ts'
import { webhookStage } from './support/webhook-stage.ts'

const within = { timeout: 30_000, interval: 25 }

interface Task {
  id: string
  status: string
  error_info: string
  outputs: unknown
}

async function stage({ start }: Provider, options: InProcessOptions = {}) {
  const { twin, settings } = await start()
  const set = await startInProcess({ ...options, settings })
  return { ...set, twin, ...surface(set) }
}

function surface({ app, lifecycle }: InProcess) {
  const post = async (path: string, scenario: Scenario, more: { headers?: Record<string, string> } = {}) =>
    app.request(path, { method: 'POST', body: bodyOf(scenario), ...more })
  const task = async (id: string) => (await (await app.request(`/task/${id}`)).json()) as Task
  return {
    post,
    task,
    async submit(scenario: Scenario): Promise<string> {
      const answer = await post('/async/v1/predict', scenario)
      const text = await answer.text()
      expect(answer.status, text).toBe(200)
      return (JSON.parse(text) as { id: string }).id
    },
    async ended(id: string): Promise<Task> {
      await lifecycle.service.waitFor(id, 30_000)
      return task(id)
    },
    cancel: async (id: string) => (await app.request(`/cancel/${id}`, { method: 'POST' })).status,
  }
}

function bodyOf(scenario: Scenario): string {
  return JSON.stringify({ model_name: 'painter', inputs: { prompt: 'a secret cat', twin: scenario } })
}

const taken: Step = json({ id: 'taken' })

describe.each(providers)('on $name', (provider) => {
  const { name, create } = provider

  async function mirrored() {
    const records = await startScriptedServer(taken)
    onTestFinished(() => records.close())
    const mirror = { address: records.address, apiKey: 'key-9', tryTimeoutMs: 2_000 }
    const told = () => records.calls.map(({ body }) => (JSON.parse(body) as { status: string }).status)
    return { ...(await stage(provider, { mirror })), records, told }
  }

  test('3: a second cancel answers 200, a finished task 403 with its record unchanged', async () => {
    const { submit, ended, cancel, twin } = await stage(provider)
    const done = await submit({ output: 'done' })
    const record = await ended(done)
    expect(await cancel(done)).toBe(403)
    expect(await ended(done)).toEqual(record)
    const running = await submit({ end: 'never' })
    await vi.waitFor(() => expect(twin.jobs).toHaveLength(2), within)
    expect(await cancel(running)).toBe(200)
    expect(await cancel(running)).toBe(200)
    await vi.waitFor(() => expect(twin.jobs[1]?.phase).toBe('canceled'), within)
  })

  test('8: an outage of the record service after a good job makes no second job, and the record ends succeeded', async () => {
    const { submit, ended, twin, records, told } = await mirrored()
    records.script(taken, json({ error: 'away' }, 503))
    const id = await submit({ output: 'done', runMs: 50 })
    expect((await ended(id)).status).toBe('succeeded')
    await vi.waitFor(() => expect(told().length).toBeGreaterThan(8), within)
    records.script(taken)
    const seen = records.calls.length
    await vi.waitFor(() => expect(told().slice(seen)).toEqual(['running', 'succeeded']), within)
    expect(twin.callsOf(create)).toHaveLength(1)
  })

  test('9: the record service hears of a job with the full body after a 500 and a reset', async () => {
    const { submit, ended, records, told } = await mirrored()
    records.script(taken, taken, json({ error: 'no' }, 500), resetAfterRequest, taken)
    const id = await submit({ output: { n: 1 }, runMs: 500 })
    await ended(id)
    await vi.waitFor(
      () => expect(told()).toEqual(['pending', 'running', 'succeeded', 'succeeded', 'succeeded']),
      within,
    )
    for (const { body } of records.calls.slice(2)) {
      expect(JSON.parse(body)).toMatchObject({ id, status: 'succeeded', outputs: { output: { n: 1 } } })
    }
  })

  test('34: routes, times and calls are measured, and no text of ours holds inputs, outputs or the key', async () => {
    const { submit, ended, post, app } = await stage(provider)
    await ended(await submit({ output: 'a secret painting', runMs: 50 }))
    const failed = await post('/v1/predict', { end: 'failed', error: `broken with ${providerKey}` })
    expect(await failed.text()).not.toContain(providerKey)
    const text = await (await app.request('/metrics')).text()
    for (const [metric, labels, value] of [
      ['http_requests_total', 'path="/async/v1/predict"', '1'],
      ['response_status', 'path="/v1/predict",status="500"', '1'],
      ['predictions_total', `model="painter",platform="${name}",status="succeeded"`, '1'],
      ['predictions_total', `model="painter",platform="${name}",status="failed"`, '1'],
      ['platform_calls_total', `model="painter",platform="${name}",code="ok"`, '1'],
      ['prediction_run_seconds_bucket', `le="600",model="painter",platform="${name}"`, '2'],
    ] as const) {
      expect(text).toContain(`${metric}{${labels}} ${value}`)
    }
    expect(text).not.toContain('secret')
  })

  test('35: what a caller writes as upload_webhook does not reach the provider', async () => {
    const { app, twin } = await stage(provider)
    const inputs = { prompt: 'x', upload_webhook: 'http://files.test/upload', twin: { output: 'ok' } }
    const body = JSON.stringify({ model_name: 'painter', inputs })
    expect((await app.request('/v1/predict', { method: 'POST', body })).status).toBe(200)
    expect(twin.callsOf(create)[0]?.body).toContain('"prompt":"x"')
    expect(twin.callsOf(create)[0]?.body).not.toContain('upload_webhook')
  })

  test('37: a webhook receiver that is down delays neither the record nor the cancel of a job', async () => {
    const { twin, settings } = await provider.start()
    const hooked = await webhookStage({ settings })
    const { ended, cancel, task } = surface(hooked)
    await hooked.receiver.close()
    const done = await hooked.create({ input: { twin: { output: 'done', runMs: 50 } } })
    expect((await ended(done)).status).toBe('succeeded')
    const running = await hooked.create({ input: { twin: { end: 'never' } } })
    await vi.waitFor(() => expect(twin.jobs[1]?.phase).toBe('running'), within)
    expect(await cancel(running)).toBe(200)
    expect((await task(running)).status).toBe('canceled')
    await vi.waitFor(() => expect(twin.jobs[1]?.phase).toBe('canceled'), within)
  })

  test('38: 100 parallel posts with one key make one job; the same key with another body is 422', async () => {
    const { post, ended, twin } = await stage(provider)
    const headers = { 'idempotency-key': 'order-1' }
    const answers = await Promise.all(
      Array.from({ length: 100 }, () => post('/async/v1/predict', { output: 'done' }, { headers })),
    )
    const ids = await Promise.all(answers.map(async (answer) => ((await answer.json()) as Task).id))
    expect(new Set(ids).size).toBe(1)
    expect((await ended(ids[0]!)).status).toBe('succeeded')
    expect(twin.callsOf(create)).toHaveLength(1)
    expect((await post('/async/v1/predict', { output: 'other' }, { headers })).status).toBe(422)
  })

  test('40: an output of 20 MB ends succeeded, whole, and stays readable when the provider has forgotten it', async () => {
    const { app, twin, task } = await stage(provider)
    // The twin itself makes the text, so that it is no part of the request.
    const answer = await app.request('/async/v1/predict', {
      method: 'POST',
      body: bodyOf({ end: 'never' }),
    })
    const { id } = (await answer.json()) as Task
    await vi.waitFor(() => expect(twin.jobs).toHaveLength(1), within)
    const output = 'x'.repeat(20 * 1024 * 1024)
    const word = name === 'replicate' ? 'succeeded' : 'COMPLETED'
    const jobId = twin.jobs[0]!.id
    twin.fault(provider.poll, { status: 200, body: { id: jobId, status: word, output } })
    await vi.waitFor(async () => expect((await task(id)).status).toBe('succeeded'), within)
    twin.jobs[0]!.expired = true
    expect((await task(id)).outputs).toEqual({ output })
    expect(twin.callsOf(create)).toHaveLength(1)
    twin.jobs[0]!.cancel()
  })

  test('41: a wait that runs out answers 202 with a status that is not terminal, never a null success', async () => {
    const { post, ended } = await stage(provider)
    const waited = await post(
      '/v1/predict',
      { output: 'done', runMs: 2_500 },
      { headers: { prefer: 'wait=1' } },
    )
    expect(waited.status).toBe(202)
    const record = (await waited.json()) as Task
    expect(['pending', 'running']).toContain(record.status)
    expect(await ended(record.id)).toMatchObject({ status: 'succeeded', outputs: { output: 'done' } })
  })

  test('41: a job that never starts ends naming what the provider says of its queue', async () => {
    const { submit, ended, twin } = await stage(provider, { taskTimeoutMs: 1_500 })
    const record = await ended(await submit({ queueMs: 60_000 }))
    expect(record.status).toBe('failed')
    const why = 'status 20000: predict timeout: the job had not started at the provider'
    const queue = ' (1 jobs in the queue, 0 in progress; workers: 0 running, 1 idle)'
    expect(record.error_info).toBe(name === 'runpod' ? why + queue : why)
    await vi.waitFor(() => expect(twin.jobs[0]?.phase).toBe('canceled'), within)
  })
})
