/**
 * `POST /v1/generate` on Replicate and RunPod: a flight makes the job, the API reads its stream. Real Temporal, real
 * store, provider twins; numbers are those of the required behaviours (prediction-agent specification, section 8).
 */
import { createParser } from 'eventsource-parser'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { serveHttp } from '../api/server.ts'
import { flightIdOf } from '../contracts/names.ts'
import type { Scenario } from '../dev/twins/job.ts'
import { type InProcessOptions, startInProcess } from './support/in-process.ts'
import { providers } from './support/providers.ts'

const deadline = { timeout: 30_000, interval: 25 }
interface Told {
  event: string | undefined
  data: { id?: unknown; data?: string; status?: string; error?: string }
}

function eventsIn(text: string): Told[] {
  const events: Told[] = []
  createParser({ onEvent: ({ event, data }) => events.push({ event, data: JSON.parse(data) }) }).feed(text)
  return events
}

function textIn(events: Told[]): string {
  return events.map(({ event, data }) => (event === undefined ? (data.data ?? '') : '')).join('')
}

describe.each(providers)('$name', ({ name, create, start }) => {
  async function stage(options: InProcessOptions = {}) {
    const { twin, settings } = await start()
    const set = await startInProcess({ ...options, settings })
    const bodyOf = (scenario: Scenario) =>
      JSON.stringify({ model_name: 'talker', inputs: { prompt: 'hi', twin: scenario } })
    return {
      ...set,
      twin,
      async generate(scenario: Scenario, headers: Record<string, string> = {}) {
        const response = await set.app.request('/v1/generate', {
          method: 'POST',
          headers,
          body: bodyOf(scenario),
        })
        const text = await response.text()
        return { response, text, events: eventsIn(text) }
      },
      async onlyRecord() {
        const { items } = await set.store.list({ limit: 10 })
        expect(items).toHaveLength(1)
        return items[0]!
      },
      /** A caller over a real connection, that can leave. */
      async call(scenario: Scenario) {
        const server = await serveHttp(set.app, { host: '127.0.0.1', port: 0 })
        onTestFinished(() => server.close())
        const leaving = new AbortController()
        const answered = fetch(`${server.url}/v1/generate`, {
          method: 'POST',
          body: bodyOf(scenario),
          signal: leaving.signal,
        })
        answered.catch(() => undefined)
        return { answered, leave: () => leaving.abort() }
      },
      async untilCanceledUpstream() {
        await vi.waitFor(() => expect(twin.jobs.map(({ phase }) => phase)).toEqual(['canceled']), deadline)
      },
    }
  }

  test('31: a standard SSE client reads the pieces of a job; their text is in the record, in a flight', async () => {
    const { generate, onlyRecord, twin } = await stage()
    const { response, events, text } = await generate({ chunks: ['Hel', 'lo\nyou', ' 💧'], runMs: 200 })
    expect(response.status, text).toBe(200)
    expect(response.headers.get('content-type')).toBe('text/event-stream')
    const record = await onlyRecord()
    expect(events.map(({ data }) => data)).toEqual([
      { id: 0, data: 'Hel' },
      { id: 1, data: 'lo\nyou' },
      { id: 2, data: ' 💧' },
      { id: record.id, status: 'succeeded' },
    ])
    expect(record).toMatchObject({ status: 'succeeded', queueId: flightIdOf(record.id) })
    expect(JSON.parse(record.outputs)).toEqual({ output: 'Hello\nyou 💧' })
    expect(record.runningTime).toMatch(/^\d+\.\d{6}$/)
    expect(twin.callsOf(create)).toHaveLength(1)
    expect(twin.callsOf('cancel')).toHaveLength(0)
  })

  test('31: JSON lines where the caller asks for them', async () => {
    const { generate } = await stage()
    const { response, text } = await generate(
      { chunks: ['a', 'b'], runMs: 50 },
      { accept: 'application/x-ndjson' },
    )
    expect(response.headers.get('content-type')).toBe('application/x-ndjson')
    expect(text).toBe('{"id":0,"data":"a"}\n{"id":1,"data":"b"}\n')
  })

  test('the first piece is there while the job still runs', async () => {
    const { call, twin, untilCanceledUpstream } = await stage()
    const { answered, leave } = await call({ chunks: ['first'], end: 'never', runMs: 50 })
    const { value } = await (await answered).body!.getReader().read()
    expect(Buffer.from(value!).toString()).toContain('first')
    expect(twin.jobs[0]?.phase).toBe('running')
    leave()
    await untilCanceledUpstream()
  })

  test('a failure before the first piece is JSON with its status', async () => {
    const { generate, twin, store } = await stage()
    twin.fault(create, 400)
    expect((await generate({})).response.status).toBe(400)
    const { response, text } = await generate({ end: 'failed', error: 'out of memory' })
    expect(response.status, text).toBe(500)
    expect(response.headers.get('content-type')).toMatch(/^application\/json/)
    expect(JSON.parse(text)).toMatchObject({ error: expect.stringMatching(/^status 20000: .*out of memory/) })
    const { items } = await store.list({ limit: 10 })
    expect(items.map(({ status }) => status)).toEqual(['failed', 'failed'])
  })

  test('a failure behind the first piece is an error event, and the record failed with the same words', async () => {
    const { generate, onlyRecord } = await stage()
    const { response, events } = await generate({ chunks: ['a'], end: 'failed', error: 'oom', runMs: 200 })
    expect(response.status).toBe(200)
    expect(events[0]?.data).toEqual({ id: 0, data: 'a' })
    const record = await onlyRecord()
    expect(events.at(-1)).toEqual({ event: 'error', data: { error: record.errorInfo } })
    expect(record).toMatchObject({ status: 'failed', errorCode: 'platform_job_failed' })
  })

  test.each([
    ['between two pieces', { chunks: ['a'], end: 'never', runMs: 50 }],
    ['before the first', { queueMs: 60_000 }],
  ] as const)(
    '31: a caller that leaves %s cancels the job, and the record reads canceled',
    async (when, of) => {
      const { call, twin, onlyRecord, untilCanceledUpstream, store } = await stage()
      const { answered, leave } = await call({ ...of, chunks: [...('chunks' in of ? of.chunks : [])] })
      if (when === 'between two pieces') await (await answered).body!.getReader().read()
      else await vi.waitFor(() => expect(twin.jobs).toHaveLength(1), deadline)
      leave()
      await untilCanceledUpstream()
      await vi.waitFor(async () => {
        expect(await onlyRecord()).toMatchObject({
          status: 'canceled',
          errorInfo: 'client stopped listening',
        })
      }, deadline)
      const { id } = await onlyRecord()
      await vi.waitFor(async () => expect(await store.cancelsDue([id])).toEqual([]), deadline)
    },
  )

  test('1: a cancel ends the stream with an error event, and the job', async () => {
    const { call, app, onlyRecord, untilCanceledUpstream } = await stage()
    const { answered } = await call({ chunks: ['a'], end: 'never', runMs: 50 })
    const response = await answered
    const { id } = await onlyRecord()
    const text = response.text()
    expect((await app.request(`/cancel/${id}`, { method: 'POST' })).status).toBe(200)
    expect(eventsIn(await text).at(-1)).toEqual({
      event: 'error',
      data: { error: 'prediction was canceled' },
    })
    await untilCanceledUpstream()
    expect((await onlyRecord()).status).toBe('canceled')
  })

  test('19: a job canceled at the provider ends its stream', async () => {
    const { generate, onlyRecord } = await stage()
    const { events } = await generate({ chunks: ['a'], end: 'canceled', runMs: 100 })
    expect(events.at(-1)).toEqual({ event: 'error', data: { error: 'prediction was canceled' } })
    expect((await onlyRecord()).status).toBe('canceled')
  })

  test('23: a stream out of time ends failed, and its job is canceled', async () => {
    const { generate, onlyRecord, untilCanceledUpstream } = await stage({ taskTimeoutMs: 2_000 })
    const { events } = await generate({ chunks: ['a'], end: 'never', runMs: 50 })
    expect(events.at(-1)).toEqual({ event: 'error', data: { error: 'status 20000: predict timeout' } })
    expect((await onlyRecord()).status).toBe('failed')
    await untilCanceledUpstream()
  })

  test('a stream that breaks off again and again loses no piece and gives none twice', async () => {
    const { generate, onlyRecord } = await stage()
    const { events } = await generate({
      ...{ chunks: ['a', 'b', 'c', 'd'], runMs: 400, breakAfter: 1, noise: 'event: x\ndata: {\n\n' },
      faults: { stream: ['reset', 503] },
    })
    expect(textIn(events)).toBe('abcd')
    expect(events.at(-1)).toMatchObject({ event: 'done', data: { status: 'succeeded' } })
    expect(JSON.parse((await onlyRecord()).outputs)).toEqual({ output: 'abcd' })
  })

  test('where the stream cannot be had, the text comes from the job itself', async () => {
    const { generate, onlyRecord } = await stage()
    const gone = Array.from({ length: 5 }, () => 403)
    const { events } = await generate({ chunks: ['a', 'b'], runMs: 100, faults: { stream: gone } })
    expect(textIn(events)).toBe('ab')
    expect(JSON.parse((await onlyRecord()).outputs)).toEqual({ output: 'ab' })
  })

  test('a caller that reads late gets the rest from the record that the worker has ended', async () => {
    const { call, store, onlyRecord } = await stage()
    const { answered } = await call({ chunks: ['a', 'b'], end: 'never', runMs: 50 })
    const response = await answered
    const { id } = await onlyRecord()
    await store.transition(id, 'succeeded', { outputs: '{"output":"abcdef"}', runningTime: '1.5' })
    const events = eventsIn(await response.text())
    expect(textIn(events)).toBe('abcdef')
    expect(events.at(-1)).toEqual({ event: 'done', data: { id, status: 'succeeded' } })
    expect((await onlyRecord()).runningTime).toBe('1.5')
  })

  test('a model without a stream gives its output in one piece', async () => {
    const { generate, onlyRecord } = await stage()
    const { events } = await generate({ output: { n: 1 }, runMs: 50 })
    expect(textIn(events)).toBe('{"n":1}')
    expect(JSON.parse((await onlyRecord()).outputs)).toEqual({ output: '{"n":1}' })
  })

  test('12: one 503 at the creation is not seen by the caller', async () => {
    const { generate, twin } = await stage()
    twin.fault(create, 503)
    expect(textIn((await generate({ chunks: ['a'] })).events)).toBe('a')
    expect(twin.callsOf(create)).toHaveLength(2)
  })

  test('a stream that no worker takes up in time is refused with 503, its record failed', async () => {
    const { generate, workers, onlyRecord } = await stage({ queueAllowanceMs: 500 })
    await workers?.stop()
    const { response } = await generate({ chunks: ['a'] })
    expect(response.status).toBe(503)
    expect(await onlyRecord()).toMatchObject({ status: 'failed', errorInfo: 'task queue failed' })
  })

  test('38: a second request with the same key gets the text of the first, and there is one job', async () => {
    const { generate, twin, onlyRecord, app } = await stage()
    const scenario = { chunks: ['a', 'b'], runMs: 500 }
    const key = { 'idempotency-key': 'k1' }
    const [first, second] = await Promise.all([generate(scenario, key), generate(scenario, key)])
    const { id } = await onlyRecord()
    const third = await generate(scenario, key)
    for (const { events } of [first, second, third]) {
      expect(textIn(events)).toBe('ab')
      expect(events.at(-1)?.data).toEqual({ id, status: 'succeeded' })
    }
    expect(third.events).toHaveLength(2)
    expect(twin.callsOf(create)).toHaveLength(1)
    expect((await generate({ chunks: ['c'] }, key)).response.status).toBe(422)
    const metrics = await (await app.request('/metrics')).text()
    expect(metrics).toContain('idempotent_replays_total 2')
    expect(metrics).toMatch(
      new RegExp(`predictions_total\\{model="talker",platform="${name}",status="succeeded"\\} 1`),
    )
  })
})

test('RunPod jobs that keep no text beside their stream are stored with what was streamed', async () => {
  const runpod = providers.find(({ name }) => name === 'runpod')
  const { settings } = await runpod!.start()
  const { app, store } = await startInProcess({ settings })
  const scenario = { chunks: ['only', ' here'], runMs: 200, omit: ['output'] }
  const response = await app.request('/v1/generate', {
    method: 'POST',
    body: JSON.stringify({ model_name: 'm', inputs: { twin: scenario } }),
  })
  expect(textIn(eventsIn(await response.text()))).toBe('only here')
  const { items } = await store.list({ limit: 1 })
  expect(items).toMatchObject([{ status: 'succeeded', outputs: '{"output":"only here"}' }])
})
