/**
 * What the predecessor gets wrong (prediction-agent specification, section 8), for every platform that answers on the
 * request: through the HTTP surface, real Temporal and a real store. The number in a title is the specification's.
 */
import { describe, expect, test, vi } from 'vitest'
import type { PlatformSettings } from '../platforms/platform.ts'
import { type InProcess, type InProcessOptions, startInProcess } from './support/in-process.ts'
import { after, hang, json, resetAfterRequest, type Step } from './support/scripted-server.ts'

const within = { timeout: 30_000, interval: 25 }

interface Case {
  name: string
  settings(address: string, timeoutMs: number): PlatformSettings
}

const cases: Case[] = [
  {
    name: 'kserve',
    settings: (address, timeoutMs) => ({
      platform: 'kserve',
      address,
      customDomain: 'example.com',
      namespace: 'default',
      version: '0.13.1',
      protocol: 'v1',
      timeoutMs,
    }),
  },
  { name: 'k8s', settings: (address, timeoutMs) => ({ platform: 'k8s', address, timeoutMs }) },
  {
    name: 'v2',
    settings: (address, timeoutMs) => ({ platform: 'v2', address, protocol: 'mlrun', timeoutMs }),
  },
]

const good: Step = json({ outputs: [1] })

describe.each(cases)('on $name', ({ name, settings }) => {
  const start = (options: InProcessOptions = {}) => startInProcess({ settings, ...options })

  test('1: cancelling a running async prediction answers 200 and closes its connection within 5 s', async () => {
    const set = await start()
    set.platform.script(hang)
    const id = await submit(set)
    await vi.waitFor(() => expect(set.platform.calls).toHaveLength(1), within)
    expect((await post(set, `/cancel/${id}`)).status).toBe(200)
    expect((await task(set, id)).status).toBe('canceled')
    await vi.waitFor(() => expect(set.platform.calls[0]?.aborted).toBe(true), {
      timeout: 5_000,
      interval: 25,
    })
    await vi.waitFor(async () => {
      const heard = new RegExp(`^cancel_seconds_count\\{platform="${name}"\\} 1$`, 'm')
      expect(await (await set.app.request('/metrics')).text()).toMatch(heard)
    }, within)
  })

  test('1: cancelling a sync prediction answers its caller 409 and closes its connection', async () => {
    const set = await start()
    set.platform.script(hang)
    const waiting = predict(set)
    await vi.waitFor(() => expect(set.platform.calls).toHaveLength(1), within)
    const [running] = (await set.store.list({ status: 'running', limit: 1 })).items
    expect((await post(set, `/cancel/${running!.id}`)).status).toBe(200)
    const answer = await waiting
    expect(answer.status).toBe(409)
    expect(await answer.json()).toMatchObject({ error: 'prediction was canceled' })
    await vi.waitFor(() => expect(set.platform.calls[0]?.aborted).toBe(true), within)
  })

  test('2: a cancel that races completion leaves one terminal status that never changes', async () => {
    const set = await start()
    set.platform.script(after(20, good))
    const ids = await Promise.all(Array.from({ length: 12 }, () => submit(set)))
    await vi.waitFor(() => expect(set.platform.calls.length).toBeGreaterThan(0), within)
    const answers = await Promise.all(ids.map((id) => post(set, `/cancel/${id}`)))
    const first = await Promise.all(ids.map((id) => ended(set, id)))
    answers.forEach((answer, n) => {
      expect(answer.status).toBe(first[n]!.status === 'canceled' ? 200 : 403)
    })
    await vi.waitFor(async () => {
      const open = await set.client.workflow.count(
        `TaskQueue = '${set.taskQueue}' AND WorkflowType = 'flight' AND ExecutionStatus = 'Running'`,
      )
      expect(open.count).toBe(0)
    }, within)
    expect(await Promise.all(ids.map((id) => task(set, id)))).toEqual(first)
  })

  test('3: a second cancel answers 200, an unknown id 404, a finished task 403 with its record unchanged', async () => {
    const set = await start()
    const done = await submit(set)
    const record = await ended(set, done)
    expect((await post(set, `/cancel/${done}`)).status).toBe(403)
    expect(await task(set, done)).toEqual(record)
    set.platform.script(hang)
    const running = await submit(set)
    expect((await post(set, `/cancel/${running}`)).status).toBe(200)
    expect((await post(set, `/cancel/${running}`)).status).toBe(200)
    expect((await post(set, '/cancel/3fa85f64-5717-4562-b3fc-2c963f66afa6')).status).toBe(404)
  })

  test('10, 11: a predict that times out reaches the platform exactly once, and never after its budget', async () => {
    const set = await start({ taskTimeoutMs: 1_000 })
    set.platform.script(hang)
    const id = await submit(set)
    const record = await ended(set, id)
    expect(record).toMatchObject({ status: 'failed', error_info: 'status 20000: predict timeout' })
    expect(set.platform.calls).toHaveLength(1)
    const sync = await predict(set)
    expect(sync.status).toBe(504)
    expect(set.platform.calls).toHaveLength(2)
  })

  test('12: one 503 and then a 200 ends succeeded, async and sync; a 400 is tried once', async () => {
    const set = await start()
    set.platform.script(json({ error: 'warming up' }, 503), good)
    expect((await ended(set, await submit(set))).status).toBe('succeeded')
    set.platform.script(json({ error: 'warming up' }, 503), good)
    expect((await predict(set)).status).toBe(200)
    expect(set.platform.calls).toHaveLength(4)
    set.platform.script(json({ error: 'bad rows' }, 400))
    const refused = await predict(set)
    expect(refused.status).toBe(400)
    expect(await refused.json()).toMatchObject({ error: expect.stringContaining('bad rows') })
    expect(set.platform.calls).toHaveLength(5)
  })

  test('15: every record that /delete_pending deletes reads canceled', async () => {
    const set = await start()
    expect((await post(set, '/pause')).status).toBe(200)
    const ids = await Promise.all(Array.from({ length: 5 }, () => submit(set)))
    const answer = await post(set, '/delete_pending')
    expect(await answer.json()).toEqual({ num_of_deleted_tasks: 5, num_of_pending_tasks: 5 })
    for (const id of ids) expect((await task(set, id)).status).toBe('canceled')
    expect((await post(set, '/unpause')).status).toBe(200)
    expect(set.platform.calls).toHaveLength(0)
  })

  test('17: 300 instant predictions all end with the right status and a queue_id', async () => {
    const set = await start({ concurrency: 64 })
    set.platform.script(good)
    const ids = await Promise.all(Array.from({ length: 300 }, () => submit(set)))
    const records = await Promise.all(ids.map((id) => ended(set, id)))
    expect(records.every(({ status }) => status === 'succeeded')).toBe(true)
    expect(records.map(({ queue_id }) => queue_id)).toEqual(ids.map((id) => `flight-${id.slice(0, 18)}`))
  })

  test('25, 26: platform failures give 502, 503 and 504, without addresses, keys or dumps', async () => {
    const set = await start({ taskTimeoutMs: 8_000 })
    const address = set.platform.address
    const leaky = { error: `map[boom] at http://${address}/secret` }
    const rows: [Step, number][] = [
      [json(leaky, 500), 502],
      [json(leaky, 501), 502],
      // A V2 server says 408 while its model loads: not ready, worth another try.
      [json(leaky, 408), name === 'v2' ? 503 : 504],
      [json(leaky, 401), 502],
      [resetAfterRequest, 502],
      [json('{"not json', 200), 502],
    ]
    for (const [step, status] of rows) {
      set.platform.script(step)
      const answer = await predict(set)
      const text = await answer.text()
      expect(answer.status, text).toBe(status)
      expect(text).not.toContain(address)
      expect(text).not.toContain('map[')
    }
    set.platform.script(json(leaky, 503, { 'retry-after': '60' }))
    const busy = await predict(set)
    expect(busy.status).toBe(503)
    expect(busy.headers.get('retry-after')).not.toBeNull()
    for (const { errorInfo } of (await set.store.list({ limit: 20 })).items) {
      expect(errorInfo).not.toContain(address)
      expect(errorInfo).not.toContain('map[')
    }
  })

  test('30: with 500 running predictions /unfinished says 500', async () => {
    const set = await start({ concurrency: 500, maxQueueSize: 1_000 })
    set.platform.script(hang)
    const ids = await Promise.all(Array.from({ length: 500 }, () => submit(set)))
    await vi.waitFor(() => expect(set.platform.calls).toHaveLength(500), within)
    const answer = await set.app.request('/unfinished')
    expect(await answer.json()).toEqual({ 'num of unfinished tasks': 500 })
    await Promise.all(ids.map((id) => set.store.cancel(id)))
  })

  test('33: large integers come back digit for digit', async () => {
    const set = await start()
    set.platform.script((call, response) => {
      const digits = /12345678901234567890\b/.exec(call.body)?.[0] ?? 'null'
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(`{"outputs":[${digits},1.0,-0]}`)
    })
    const body = '{"model_name":"m","inputs":{"inputs":[12345678901234567890,1.50]}}'
    const answer = await set.app.request('/v1/predict', { method: 'POST', body })
    expect(await answer.text()).toContain('[12345678901234567890,1.0,-0]')
    expect(set.platform.calls[0]?.body).toContain('[12345678901234567890,1.50]')
  })

  test('36: 2000 sync requests at 64 in parallel open at most a few hundred upstream sockets', async () => {
    const set = await start()
    set.platform.script(good)
    let sent = 0
    await Promise.all(
      Array.from({ length: 64 }, async () => {
        while (sent++ < 2_000) expect((await predict(set)).status).toBe(200)
      }),
    )
    expect(set.platform.connections).toBeLessThan(300)
  })
})

test('27: model names with path characters give 400 and no upstream call on kserve', async () => {
  const set = await startInProcess({ settings: cases[0]!.settings })
  for (const name of ['a/../b', 'a?x', 'a%2fb', 'a@b', '-a', 'a.', 'ä']) {
    for (const path of ['/v1/predict', '/async/v1/predict']) {
      const body = JSON.stringify({ model_name: name, inputs: {} })
      expect((await set.app.request(path, { method: 'POST', body })).status, name).toBe(400)
    }
  }
  expect(set.platform.calls).toHaveLength(0)
  expect((await set.store.list({ limit: 1 })).items).toEqual([])
})

const body = JSON.stringify({ model_name: 'm', inputs: { inputs: [1] } })

async function submit({ app }: InProcess): Promise<string> {
  const answer = await app.request('/async/v1/predict', { method: 'POST', body })
  const text = await answer.text()
  expect(answer.status, text).toBe(200)
  return (JSON.parse(text) as { id: string }).id
}

async function predict({ app }: InProcess): Promise<Response> {
  return app.request('/v1/predict', { method: 'POST', body })
}

async function post({ app }: InProcess, path: string): Promise<Response> {
  return app.request(path, { method: 'POST' })
}

interface Task {
  status: string
  error_info: string
  queue_id: string
}

async function task({ app }: InProcess, id: string): Promise<Task> {
  const answer = await app.request(`/task/${id}`)
  expect(answer.status).toBe(200)
  return (await answer.json()) as Task
}

async function ended(set: InProcess, id: string): Promise<Task> {
  await set.lifecycle.service.waitFor(id, 30_000)
  const record = await task(set, id)
  expect(['succeeded', 'failed', 'canceled']).toContain(record.status)
  return record
}
