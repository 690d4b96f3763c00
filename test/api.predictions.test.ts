/** The Replicate-shaped routes, and Replicate's own client against them. */
import Replicate from 'replicate'
import { describe, expect, onTestFinished, test } from 'vitest'
import { serveHttp } from '../api/server.ts'
import type { JsonText } from '../records/store.ts'
import { startTestApi, type TestApi } from './support/api-app.ts'

interface Shown {
  id: string
  status: string
  [member: string]: unknown
}

const models = {
  models: {
    iris: { platform: 'v2', versions: ['iris-2'] },
    'acme/cat': { platform: 'v2' },
  },
} as never

const create = { version: 'iris', input: { inputs: [[5.1]] } }

/** Ends a waiting prediction as a worker would. */
async function finish(api: TestApi, id: string, outputs: JsonText): Promise<void> {
  const limits = { taskTimeoutMs: 10_000, maxAttempts: 1 }
  const taken = await api.store.take(id, api.processId, limits)
  if (taken.outcome !== 'taken') throw new Error(taken.outcome)
  await api.store.transition(id, 'succeeded', { outputs, runningTime: '0.5s', runMs: 500 }, taken.token)
}

/** Its deadline passed before it began. */
async function abort(api: TestApi, id: string): Promise<void> {
  const fields = { errorCode: 'prediction_aborted', errorInfo: 'the deadline passed before the start' }
  await api.store.transition(id, 'canceled', fields)
}

/** Every accepted prediction ends at once, as with a very fast worker. */
function finishAll(api: TestApi, outputs: JsonText): void {
  const { submit } = api.deps.service
  api.deps.service.submit = async (request) => {
    const accepted = await submit(request)
    await finish(api, accepted.id, outputs)
    return accepted
  }
}

async function client(api: TestApi): Promise<Replicate> {
  const server = await serveHttp(api.app, { host: '127.0.0.1', port: 0 })
  onTestFinished(() => server.close())
  return new Replicate({ auth: 'anything', baseUrl: `${server.url}/v1` })
}

describe('POST /v1/predictions', () => {
  test('creates: 201, starting, with addresses that work', async () => {
    const api = await startTestApi({ models })
    const response = await api.post('/v1/predictions', create)
    const shown = (await response.json()) as Shown
    expect(response.status, JSON.stringify(shown)).toBe(201)
    expect(shown).toMatchObject({
      model: 'perdure/iris',
      status: 'starting',
      input: create.input,
      output: null,
      error: null,
      source: 'api',
      urls: { get: `http://localhost/v1/predictions/${shown.id}` },
    })
    expect(await (await api.get(`/v1/predictions/${shown.id}`)).json()).toEqual(shown)
    expect(await (await api.get(`/task/${shown.id}`)).json()).toMatchObject({ status: 'pending' })
  })

  test('Prefer: wait is 201 at the end, 202 when it ran out', async () => {
    const api = await startTestApi({ models })
    const late = await api.post('/v1/predictions', create, { prefer: 'wait=1' })
    expect(late.status).toBe(202)
    expect(await late.json()).toMatchObject({ status: 'starting', output: null })
    finishAll(api, '{"n":12345678901234567890}')
    const done = await api.post('/v1/predictions', create, { prefer: 'wait' })
    expect(done.status).toBe(201)
    expect(await done.text()).toContain('"output":{"n":12345678901234567890}')
  })

  test('a version, an owned name and a model lead to the same model', async () => {
    const api = await startTestApi({ models })
    for (const body of [
      { version: 'iris-2' },
      { version: 'perdure/iris' },
      { model: 'perdure/iris' },
      { version: 'me/x:iris-2' },
    ]) {
      const response = await api.post('/v1/predictions', { ...body, input: {} })
      expect(response.status, JSON.stringify(body)).toBe(201)
      expect(await response.json()).toMatchObject({ model: 'perdure/iris' })
    }
  })

  test.each([
    [{}, 400, 'invalid_input'],
    [{ version: 'iris' }, 400, 'invalid_input'],
    [{ version: 'iris', input: [] }, 400, 'invalid_input'],
    [{ version: 7, input: {} }, 400, 'invalid_input'],
    [{ version: 'nobody', input: {} }, 404, 'model_unknown'],
    [{ ...create, webhook: 'https://example.com' }, 501, 'not_implemented'],
  ])('%j is %d, and nothing is written', async (body, status, code) => {
    const api = await startTestApi({ models })
    const response = await api.post('/v1/predictions', body)
    expect(response.status).toBe(status)
    expect(response.headers.get('content-type')).toBe('application/problem+json')
    expect(await response.json()).toMatchObject({ status, code })
    expect(await api.records()).toBe(0)
  })

  test('one Idempotency-Key is one prediction', async () => {
    const api = await startTestApi({ models })
    const headers = { 'idempotency-key': 'k' }
    const all = await Promise.all(
      Array.from({ length: 20 }, async () => (await api.post('/v1/predictions', create, headers)).json()),
    )
    expect(new Set(all.map((one) => (one as Shown).id)).size).toBe(1)
    const other = await api.post('/v1/predictions', { ...create, input: {} }, headers)
    expect(other.status).toBe(422)
  })
})

describe('Cancel-After', () => {
  test.each([
    ['90', 90],
    ['15s', 15],
    ['5m', 300],
    ['1h30m', 5_400],
    ['1h30m45s', 5_445],
  ])('%s is a deadline, shown with the prediction', async (given, seconds) => {
    const api = await startTestApi({ models })
    const response = await api.post('/v1/predictions', create, { 'cancel-after': given })
    expect(response.status).toBe(201)
    const shown = (await response.json()) as Shown
    const { created_at: createdAt, deadline } = shown as unknown as Record<string, string>
    expect(Date.parse(deadline!) - Date.parse(createdAt!)).toBe(seconds * 1000)
    expect(await (await api.get(`/v1/predictions/${shown.id}`)).json()).toEqual(shown)
  })

  test.each(['', '4s', '0', '-5s', 'soon', '5 m', '1h30', 's', '30s1h', '1.5m', '5s, 9s'])(
    '%j is 422 naming the header, and nothing is written',
    async (given) => {
      const api = await startTestApi({ models })
      const inherited = await api.post(
        '/async/v1/predict',
        { model_name: 'iris', inputs: {} },
        { 'cancel-after': given },
      )
      expect(inherited.status).toBe(422)
      const response = await api.post('/v1/predictions', create, { 'cancel-after': given })
      expect(response.status).toBe(422)
      expect(response.headers.get('content-type')).toBe('application/problem+json')
      const problem = await response.json()
      expect(problem).toMatchObject({ status: 422, code: 'invalid_header' })
      expect((problem as { detail: string }).detail).toContain('Cancel-After')
      expect(await api.records()).toBe(0)
    },
  )

  test('a stream refuses it', async () => {
    const api = await startTestApi()
    const body = { model_name: 'm', inputs: {} }
    expect((await api.post('/v1/generate', body, { 'cancel-after': '5s' })).status).toBe(501)
  })
})

describe('webhook', () => {
  const webhook = { webhook: 'https://hooks.test/a', webhook_events_filter: ['completed'] }
  const open = () => startTestApi({ models, webhookGuard: { refusalNow: async () => undefined } })

  test('address and events are shown in the prediction and in the list', async () => {
    const api = await open()
    const shown = (await (await api.post('/v1/predictions', { ...create, ...webhook })).json()) as Shown
    expect(shown).toMatchObject(webhook)
    expect(await (await api.get(`/v1/predictions/${shown.id}`)).json()).toMatchObject(webhook)
    expect(await (await api.get('/v1/predictions')).json()).toMatchObject({ results: [webhook] })
  })

  test('another webhook under the same Idempotency-Key is another request', async () => {
    const api = await open()
    const headers = { 'idempotency-key': 'k' }
    const first = await api.post('/v1/predictions', { ...create, ...webhook }, headers)
    const again = await api.post('/v1/predictions', { ...create, ...webhook }, headers)
    expect(((await again.json()) as Shown).id).toBe(((await first.json()) as Shown).id)
    for (const other of [
      {},
      { ...webhook, webhook: 'https://hooks.test/b' },
      { ...webhook, webhook_events_filter: ['start', 'completed'] },
    ]) {
      const response = await api.post('/v1/predictions', { ...create, ...other }, headers)
      expect(response.status).toBe(422)
      expect(await response.json()).toMatchObject({ code: 'idempotency_mismatch' })
    }
    expect(await api.records()).toBe(1)
  })

  test('a retry inherits it', async () => {
    const api = await open()
    const first = (await (await api.post('/v1/predictions', { ...create, ...webhook })).json()) as Shown
    await api.post(`/v1/predictions/${first.id}/cancel`)
    const second = (await (await api.post(`/v1/predictions/${first.id}/retry`)).json()) as Shown
    expect(second).toMatchObject({ ...webhook, retry_of: first.id })
    expect(await api.store.deliveries.orderOf(second.id)).toEqual({
      url: webhook.webhook,
      events: webhook.webhook_events_filter,
      base: 'http://localhost',
    })
  })
})

describe('POST /v1/models/{owner}/{name}/predictions', () => {
  test('creates for a listed name, and 404 for others', async () => {
    const api = await startTestApi({ models })
    const listed = await api.post('/v1/models/acme/cat/predictions', { input: {} })
    expect(listed.status).toBe(201)
    expect(await listed.json()).toMatchObject({ model: 'acme/cat' })
    expect((await api.post('/v1/models/acme/dog/predictions', { input: {} })).status).toBe(404)
  })
})

describe('GET /v1/predictions/{id}', () => {
  test('shows the end with its times, and 404 for the unknown', async () => {
    const api = await startTestApi({ models })
    const { id } = (await (await api.post('/v1/predictions', create)).json()) as Shown
    await finish(api, id, '[1]')
    const shown = (await (await api.get(`/v1/predictions/${id}`)).json()) as Shown
    expect(shown).toMatchObject({ status: 'succeeded', output: [1] })
    expect(shown.completed_at).toMatch(/^\d{4}-/)
    expect(shown.metrics).toMatchObject({ total_time: expect.any(Number) })
    expect((await api.get('/v1/predictions/nobody')).status).toBe(404)
  })

  test('the address for uploads is not part of the input', async () => {
    const api = await startTestApi({ platform: 'k8s' })
    const response = await api.post('/v1/predictions', { version: 'm', input: { a: 1 } })
    expect(await response.json()).toMatchObject({ input: { a: 1 } })
    expect((await (await api.get('/v1/predictions')).text()).includes('upload_webhook')).toBe(false)
  })
})

describe('GET /v1/predictions', () => {
  test('pages newest first without gaps or repeats, by status and model', async () => {
    const api = await startTestApi({ models, settings: { maxQueueSize: 1_000 } })
    const ids: string[] = []
    for (let n = 0; n < 130; n++) {
      ids.push(((await (await api.post('/v1/predictions', create)).json()) as Shown).id)
    }
    await finish(api, ids[0]!, '1')
    const seen: string[] = []
    let url: string | null = '/v1/predictions'
    while (url !== null) {
      const page = (await (await api.get(url)).json()) as { next: string | null; results: Shown[] }
      seen.push(...page.results.map(({ id }) => id))
      url = page.next === null ? null : page.next.replace('http://localhost', '')
    }
    expect(seen).toHaveLength(130)
    expect(new Set(seen)).toEqual(new Set(ids))
    const [first, second] = await twoPages(api)
    expect(first.previous).toBeNull()
    expect(second.next).toBeNull()
    const back = (await (await api.get(pathOf(second.previous!))).json()) as typeof first
    expect(back.results.map(({ id }) => id)).toEqual(first.results.map(({ id }) => id))
    expect(back.previous).toBeNull()
    expect(await (await api.get(pathOf(back.next!))).json()).toEqual(second)
    const of = async (query: string) =>
      ((await (await api.get(`/v1/predictions?${query}`)).json()) as { results: Shown[] }).results
    expect((await of('status=succeeded')).map(({ id }) => id)).toEqual([ids[0]])
    expect(await of('model=acme/cat')).toEqual([])
    const page = (await (await api.get('/v1/predictions?status=starting&model=perdure/iris')).json()) as {
      next: string
    }
    const { searchParams } = new URL(page.next)
    expect(Object.fromEntries(searchParams)).toMatchObject({ status: 'starting', model: 'perdure/iris' })
    expect((await api.get('/v1/predictions?status=running')).status).toBe(400)
    expect((await api.get('/v1/predictions?cursor=nonsense')).status).toBe(400)
  })
})

interface ShownPage {
  next: string | null
  previous: string | null
  results: Shown[]
}

const pathOf = (url: string) => url.replace('http://localhost', '')

async function twoPages(api: TestApi): Promise<[ShownPage, ShownPage]> {
  const first = (await (await api.get('/v1/predictions')).json()) as ShownPage
  return [first, (await (await api.get(pathOf(first.next!))).json()) as ShownPage]
}

describe('filters of GET /v1/predictions', () => {
  async function listed(api: TestApi, query: Record<string, string>): Promise<string[]> {
    const response = await api.get(`/v1/predictions?${new URLSearchParams(query)}`)
    const body = (await response.json()) as { results: Shown[] }
    expect(response.status, JSON.stringify(body)).toBe(200)
    return body.results.map(({ id }) => id)
  }

  test('created_after includes its moment, created_before does not', async () => {
    const api = await startTestApi({ models })
    const shown = (await (await api.post('/v1/predictions', create)).json()) as Shown
    const at = String(shown.created_at)
    const later = new Date(Date.parse(at) + 1).toISOString()
    expect(await listed(api, { created_after: at })).toEqual([shown.id])
    expect(await listed(api, { created_after: later })).toEqual([])
    expect(await listed(api, { created_before: at })).toEqual([])
    expect(await listed(api, { created_before: later, created_after: '2020-01-01' })).toEqual([shown.id])
    for (const query of ['created_after=yesterday', 'created_before=17', 'source=cli']) {
      expect((await api.get(`/v1/predictions?${query}`)).status).toBe(400)
    }
  })

  test('source=api is everything, source=web nothing', async () => {
    const api = await startTestApi({ models })
    await api.post('/v1/predictions', create)
    expect(await listed(api, { source: 'api' })).toHaveLength(1)
    expect(await listed(api, { source: 'web' })).toEqual([])
  })

  test('canceled is also what never began; the code tells them apart', async () => {
    const api = await startTestApi({ models })
    const make = async () => ((await (await api.post('/v1/predictions', create)).json()) as Shown).id
    const [canceled, aborted] = [await make(), await make()]
    await make()
    await api.post(`/v1/predictions/${canceled}/cancel`)
    await abort(api, aborted)
    expect(await listed(api, { status: 'canceled' })).toEqual([aborted, canceled])
    expect(await listed(api, { code: 'prediction_aborted' })).toEqual([aborted])
    expect(await listed(api, { status: 'canceled', code: 'prediction_canceled' })).toEqual([canceled])
    expect(await listed(api, { status: 'failed', code: 'prediction_aborted' })).toEqual([])
  })

  test.each([
    ['status', 'aborted', 'starting, processing, succeeded, failed, canceled'],
    ['status', 'pending', 'starting, processing, succeeded, failed, canceled'],
    ['code', 'aborted', 'code'],
  ])('%s=%s is 400 and says why', async (name, word, text) => {
    const api = await startTestApi({ models })
    const response = await api.get(`/v1/predictions?${name}=${word}`)
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({
      code: 'invalid_input',
      detail: expect.stringContaining(text),
    })
  })
})

describe('POST /v1/predictions/{id}/cancel', () => {
  test('200 with the canceled object, twice; 403 once finished; 404 unknown', async () => {
    const api = await startTestApi({ models })
    const { id } = (await (await api.post('/v1/predictions', create)).json()) as Shown
    for (let times = 0; times < 2; times++) {
      const response = await api.post(`/v1/predictions/${id}/cancel`)
      expect(response.status).toBe(200)
      expect(await response.json()).toMatchObject({ id, status: 'canceled' })
    }
    finishAll(api, '1')
    const done = (await (await api.post('/v1/predictions', create)).json()) as Shown
    expect((await api.post(`/v1/predictions/${done.id}/cancel`)).status).toBe(403)
    expect((await api.post('/v1/predictions/nobody/cancel')).status).toBe(404)
  })
})

describe('POST /v1/predictions/{id}/retry', () => {
  test('makes a new prediction from the stored input, once the old one has ended', async () => {
    const api = await startTestApi({ models })
    const first = (await (await api.post('/v1/predictions', create)).json()) as Shown
    expect((await api.post(`/v1/predictions/${first.id}/retry`)).status).toBe(409)
    await api.post(`/v1/predictions/${first.id}/cancel`)
    const response = await api.post(`/v1/predictions/${first.id}/retry`)
    expect(response.status).toBe(201)
    const second = (await response.json()) as Shown
    expect(second).toMatchObject({ status: 'starting', input: create.input, retry_of: first.id })
    expect(second.id).not.toBe(first.id)
    expect(await (await api.get(`/v1/predictions/${second.id}`)).json()).toEqual(second)
    const { results } = (await (await api.get('/v1/predictions')).json()) as { results: Shown[] }
    expect(results.map((one) => one.retry_of)).toEqual([first.id, undefined])
    expect((await api.post('/v1/predictions/nobody/retry')).status).toBe(404)
  })

  test('410 once the input has expired', async () => {
    const api = await startTestApi({ models })
    const { id } = (await (await api.post('/v1/predictions', create)).json()) as Shown
    await api.post(`/v1/predictions/${id}/cancel`)
    api.deps.store.inputsOf = async () => undefined
    expect((await api.post(`/v1/predictions/${id}/retry`)).status).toBe(410)
  })
})

describe('GET /v1/predictions/{id}/events', () => {
  test('tells the way in order and resumes behind Last-Event-ID', async () => {
    const api = await startTestApi({ models })
    const { id } = (await (await api.post('/v1/predictions', create)).json()) as Shown
    const stream = api.get(`/v1/predictions/${id}/events`)
    await finish(api, id, '["a","b\\nc"]')
    const response = await stream
    expect(response.headers.get('content-type')).toBe('text/event-stream')
    const whole = [
      'id: 1\nevent: status\ndata: starting\n\n',
      'id: 2\nevent: status\ndata: processing\n\n',
      'id: 3\nevent: output\ndata: a\n\n',
      'id: 4\nevent: output\ndata: b\ndata: c\n\n',
      'id: 5\nevent: done\ndata: {}\n\n',
    ]
    expect(await response.text()).toBe(whole.join(''))
    const rest = await api.app.request(`/v1/predictions/${id}/events`, { headers: { 'last-event-id': '3' } })
    expect(await rest.text()).toBe(whole.slice(3).join(''))
    expect((await api.get('/v1/predictions/nobody/events')).status).toBe(404)
  })

  test('of a deadline that passed before the start it says canceled, and the code', async () => {
    const api = await startTestApi({ models })
    const { id } = (await (await api.post('/v1/predictions', create)).json()) as Shown
    await abort(api, id)
    const text = await (await api.get(`/v1/predictions/${id}/events`)).text()
    expect(text).toContain('event: done\ndata: {"reason":"canceled","code":"prediction_aborted"}\n')
  })
})

describe("Replicate's client with only its base URL changed", () => {
  test('run waits and gives the output', async () => {
    const api = await startTestApi({ models })
    finishAll(api, '{"outputs":[2]}')
    const replicate = await client(api)
    expect(await replicate.run('acme/cat', { input: { a: 1 } })).toEqual({ outputs: [2] })
    expect(await replicate.run('perdure/iris:iris-2', { input: {} })).toEqual({ outputs: [2] })
  })

  test('create, wait, cancel and paginate', async () => {
    const api = await startTestApi({ models })
    const replicate = await client(api)
    const prediction = await replicate.predictions.create({ version: 'iris', input: {} })
    expect(prediction.status).toBe('starting')
    const ended = replicate.wait(prediction, { interval: 20 })
    await finish(api, prediction.id, '"yes"')
    expect(await ended).toMatchObject({ status: 'succeeded', output: 'yes' })

    const other = await replicate.predictions.create({ version: 'iris', input: {} })
    expect(await replicate.predictions.cancel(other.id)).toMatchObject({ status: 'canceled' })

    const listed: string[] = []
    for await (const page of replicate.paginate(replicate.predictions.list)) {
      listed.push(...page.map(({ id }) => id))
    }
    expect(listed.sort()).toEqual([prediction.id, other.id].sort())
  })

  test('wait ends when the deadline passed before the start, with the reason', async () => {
    const api = await startTestApi({ models })
    const replicate = await client(api)
    const prediction = await replicate.predictions.create({ version: 'iris', input: {} })
    const ended = replicate.wait(prediction, { interval: 20 })
    await abort(api, prediction.id)
    expect(await ended).toMatchObject({
      status: 'canceled',
      error: 'the deadline passed before the start',
      code: 'prediction_aborted',
    })
  })

  test('stream reads the pieces', async () => {
    const api = await startTestApi({ models })
    finishAll(api, '["Hel","lo"]')
    const replicate = await client(api)
    let text = ''
    for await (const event of replicate.stream('perdure/iris', { input: {} })) text += `${event}`
    expect(text).toMatch(/Hello/)
  })
})
