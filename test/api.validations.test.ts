/** `/v1/validations…` and `/v1/blessings…`: every route with its outcomes. What a validation does is tested elsewhere. */
import { describe, expect, test, vi } from 'vitest'
import { makeApp } from '../api/app.ts'
import { makeMetrics } from '../metrics.ts'
import { startTestApi } from './support/api-app.ts'
import { blessingFor, storeBlessing } from './support/blessings.ts'
import { candidateRequest, patience, startValidations } from './support/validations.ts'

async function startApi(options: Parameters<typeof startValidations>[0] = {}) {
  const world = await startValidations({ worker: false, ...options })
  const api = await startTestApi()
  const app = makeApp({ ...api.deps, metrics: makeMetrics(), validations: world.service }, api.settings)
  const call = async (method: string, path: string, body?: unknown, headers?: Record<string, string>) => {
    const response = await app.request(path, {
      method,
      ...(headers && { headers }),
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
    const text = await response.text()
    const type = response.headers.get('content-type') ?? ''
    return { status: response.status, type, text, body: type.includes('json') ? JSON.parse(text) : undefined }
  }
  return { ...world, call }
}

const unknown = '/v1/validations/validation-nobody'

function expectProblem(
  answer: { status: number; type: string; body: unknown },
  status: number,
  code: string,
) {
  expect(answer.status, JSON.stringify(answer.body)).toBe(status)
  expect(answer.type).toBe('application/problem+json')
  expect(answer.body).toMatchObject({ status, code })
}

describe('POST /v1/validations', () => {
  test('answers 202 with an id that is its workflow, and the record is there at once', async () => {
    const { call, client, store } = await startApi()
    const { status, body } = await call('POST', '/v1/validations', candidateRequest())
    expect(status).toBe(202)
    expect(body).toMatchObject({
      id: expect.stringMatching(/^validation-[0-9a-f-]{36}$/),
      status: 'running',
      verdict: null,
      progress: { phase: 'pending' },
      urls: { get: `/v1/validations/${body.id}`, cancel: `/v1/validations/${body.id}/cancel` },
    })
    expect((await client.workflow.getHandle(body.id).describe()).type).toBe('validation')
    expect(await store.validations.get(body.id)).toMatchObject({ modelName: 'candidate' })
  })

  test('BUG-01 BUG-15: every fault is named with its field, and nothing is started', async () => {
    const { call, store } = await startApi()
    const answer = await call('POST', '/v1/validations', {
      model: { path: '/m' },
      servingSpec: { binary: { kind: 'tensorflow_serving' }, platform: { kind: 'docker' } },
      examples: { splits: { eval: 'x.jsonl' } },
      surprise: true,
    })
    expectProblem(answer, 400, 'CONFIG_INVALID')
    const fields = answer.body.faults.map(({ field }: { field: string }) => field)
    expect(fields).toContain('surprise')
    const both = await call('POST', '/v1/validations', {
      model: { path: '/m' },
      servingSpec: { binary: { kind: 'tensorflow_serving' }, platform: { kind: 'docker' } },
      examples: { splits: { eval: 'x.jsonl' } },
    })
    expect(both.body.faults.map(({ field }: { field: string }) => field)).toEqual(
      expect.arrayContaining(['servingSpec.binary.image', 'requestSpec']),
    )
    expect(await store.validations.list({ limit: 10 })).toEqual([])
  })

  // H-01.
  test('a request names no kubeconfig: that is a fault of the field', async () => {
    const { call, store } = await startApi({ rules: { kinds: ['kubernetes'], named: true } })
    const request = (platform: object) => ({
      model: { uri: 's3://models/iris', digest: 'v7' },
      servingSpec: {
        binary: { kind: 'open-inference-v2', image: 'iris:1' },
        platform: { kind: 'kubernetes', ...platform },
      },
    })
    const refused = await call('POST', '/v1/validations', request({ kubeconfig: '/data/files/x.yaml' }))
    expectProblem(refused, 400, 'CONFIG_INVALID')
    expect(refused.body.faults).toMatchObject([{ field: 'servingSpec.platform.kubeconfig' }])
    expect(await store.validations.list({ limit: 10 })).toEqual([])
    expect((await call('POST', '/v1/validations', request({ cluster: 'gpu' }))).status).toBe(202)
  })

  test('a platform that this deployment does not accept is a fault of its field, beside the others', async () => {
    const { call, store } = await startApi({ rules: { kinds: ['kubernetes'], named: true } })
    const refused = await call('POST', '/v1/validations', candidateRequest())
    expectProblem(refused, 400, 'CONFIG_INVALID')
    const message = 'process is not accepted here: PERDURE_RUNNERS names kubernetes'
    expect(refused.body.faults).toEqual([{ field: 'servingSpec.platform.kind', message }])
    const both = await call('POST', '/v1/validations', { ...candidateRequest(), surprise: true })
    expect(both.body.faults.map(({ field }: { field: string }) => field)).toEqual([
      'surprise',
      'servingSpec.platform.kind',
    ])
    expect(await store.validations.list({ limit: 10 })).toEqual([])
  })

  test('a page of another site in this machine’s browser starts nothing', async () => {
    const host = '127.0.0.1:8000'
    const { call, store } = await startApi()
    for (const headers of [
      { host, origin: 'https://example.com' },
      { host, origin: 'null' },
      // A name of theirs that resolves to this machine.
      { host: 'example.com:8000', origin: 'http://example.com:8000' },
    ]) {
      expectProblem(await call('POST', '/v1/validations', candidateRequest(), headers), 422, 'invalid_header')
    }
    expect(await store.validations.list({ limit: 10 })).toEqual([])
    const own = { host, origin: `http://${host}` }
    expect((await call('POST', '/v1/validations', candidateRequest(), own)).status).toBe(202)
    const open = await startApi({ rules: { kinds: ['process'], named: true } })
    const proxied = { host: 'perdure.example.com', origin: 'https://perdure.example.com' }
    expect((await open.call('POST', '/v1/validations', candidateRequest(), proxied)).status).toBe(202)
  })

  test('a body that is no JSON object is refused', async () => {
    const { call } = await startApi()
    expectProblem(await call('POST', '/v1/validations', '[1]'), 400, 'invalid_input')
    expectProblem(await call('POST', '/v1/validations', '{'), 400, 'invalid_input')
  })

  test('a schedule in the request repeats it; a wrong one is refused before anything starts', async () => {
    const { call, service, store } = await startApi()
    const wrong = await call('POST', '/v1/validations', {
      ...candidateRequest(),
      schedule: { every: 'soon' },
    })
    expectProblem(wrong, 400, 'invalid_input')
    expect(await store.validations.list({ limit: 1 })).toEqual([])
    const { status, body } = await call('POST', '/v1/validations', {
      ...candidateRequest(),
      schedule: { cron: '0 3 * * *' },
    })
    expect(status).toBe(202)
    expect(await service.schedule(body.id)).toMatchObject({ cron: '0 3 * * *' })
    expect(await service.stopRepeating(body.id)).toBe(true)
  })
})

describe('GET /v1/validations', () => {
  test('lists the newest first, page by page, of one model if asked', async () => {
    const { call, store } = await startApi()
    for (const n of [1, 2, 3]) {
      await store.validations.create({ id: `validation-${n}`, modelName: n === 2 ? 'b' : 'a', spec: '{}' })
    }
    const first = await call('GET', '/v1/validations?limit=2')
    expect(first.body.results.map(({ id }: { id: string }) => id)).toEqual(['validation-3', 'validation-2'])
    const second = await call('GET', first.body.next)
    expect(second.body).toMatchObject({ next: null, results: [{ id: 'validation-1' }] })
    const named = await call('GET', '/v1/validations?model_name=b')
    expect(named.body.results).toMatchObject([{ id: 'validation-2' }])
    expectProblem(await call('GET', '/v1/validations?limit=0'), 400, 'invalid_input')
    expectProblem(await call('GET', '/v1/validations?cursor=x'), 400, 'invalid_input')
  })
})

describe('GET /v1/validations/{id}', () => {
  test('one that was terminated before any worker saw it reads ABORTED', async () => {
    const { call, client } = await startApi()
    const { body } = await call('POST', '/v1/validations', candidateRequest())
    expect((await call('GET', `/v1/validations/${body.id}`)).body).toMatchObject({ status: 'running' })
    await client.workflow.getHandle(body.id).terminate('by an operator')
    const { body: read } = await call('GET', `/v1/validations/${body.id}`)
    expect(read).toMatchObject({ status: 'ended', verdict: 'ABORTED' })
  })

  test('shows attempts as far as they have come, and the spec with its defaults', async () => {
    const { call, store } = await startApi()
    const { body } = await call('POST', '/v1/validations', candidateRequest())
    await store.validations.patchAttempt(body.id, 0, 1, { jobKey: 'k', timings: { startMs: 5 } })
    const { status, body: detail } = await call('GET', `/v1/validations/${body.id}`)
    expect(status).toBe(200)
    expect(detail).toMatchObject({
      id: body.id,
      attempts: [{ binary: 0, n: 1, jobKey: 'k', timings: { startMs: 5 } }],
      spec: { validationSpec: { numTries: 2, readyStreak: 2 } },
    })
    expectProblem(await call('GET', unknown), 404, 'not_found')
  })
})

describe('POST /v1/validations/{id}/cancel', () => {
  test('asks the workflow to end; one that has ended is a conflict', async () => {
    const { call, startWorker, ended } = await startApi()
    const { body } = await call('POST', '/v1/validations', candidateRequest({ LOAD_MS: '60000' }))
    expect((await call('POST', `/v1/validations/${body.id}/cancel`)).status).toBe(202)
    await startWorker()
    expect((await ended(body.id)).verdict).toBe('ABORTED')
    expectProblem(await call('POST', `/v1/validations/${body.id}/cancel`), 409, 'conflict')
    expectProblem(await call('POST', `${unknown}/cancel`), 404, 'not_found')
  })

  test('a validation whose workflow was terminated can still be ended', async () => {
    const { call, client } = await startApi()
    const { body } = await call('POST', '/v1/validations', candidateRequest())
    await client.workflow.getHandle(body.id).terminate('by an operator')
    const answer = await vi.waitFor(async () => {
      const canceled = await call('POST', `/v1/validations/${body.id}/cancel`)
      expect(canceled.body).toMatchObject({ status: 'ended', verdict: 'ABORTED' })
      return canceled
    }, patience)
    expect(answer.status).toBe(202)
  })
})

describe('GET /v1/validations/{id}/logs', () => {
  test('gives the output of the last attempt, or of the one that is asked for', async () => {
    const { call, store } = await startApi()
    const { body } = await call('POST', '/v1/validations', candidateRequest())
    const logs = `/v1/validations/${body.id}/logs`
    expectProblem(await call('GET', logs), 404, 'not_found')
    for (const n of [1, 2]) {
      await store.validations.patchAttempt(body.id, 0, n, { logsRef: `logs/0/${n}` })
      await store.validations.keepText(body.id, `logs/0/${n}`, `attempt ${n}\0`)
    }
    expect(await call('GET', logs)).toMatchObject({ status: 200, text: 'attempt 2\u{fffd}' })
    expect((await call('GET', logs)).type).toMatch(/^text\/plain/)
    expect((await call('GET', `${logs}?binary=0&attempt=1`)).text).toBe('attempt 1\u{fffd}')
    expectProblem(await call('GET', `${logs}?attempt=3`), 404, 'not_found')
    expectProblem(await call('GET', `${unknown}/logs`), 404, 'not_found')
  })
})

describe('GET /v1/validations/{id}/warmup', () => {
  test('gives the requests as JSON Lines, 404 where none were made', async () => {
    const { call, store } = await startApi()
    const { body } = await call('POST', '/v1/validations', candidateRequest())
    expectProblem(await call('GET', `/v1/validations/${body.id}/warmup`), 404, 'not_found')
    await store.validations.keepText(body.id, 'warmup-requests.jsonl', '{"method":"POST"}\n')
    const answer = await call('GET', `/v1/validations/${body.id}/warmup`)
    expect(answer.status).toBe(200)
    expect(answer.text).toBe('{"method":"POST"}\n')
  })
})

describe('POST /v1/validations/{id}/schedule', () => {
  test('makes and replaces the schedule', async () => {
    const { call, service } = await startApi()
    const { body } = await call('POST', '/v1/validations', candidateRequest())
    const at = `/v1/validations/${body.id}/schedule`
    expect(await call('POST', at, { every: '24h' })).toMatchObject({ status: 200, body: { every: '24h' } })
    const again = await call('POST', at, { cron: '30 2 * * 0' })
    expect(again).toMatchObject({ status: 200, body: { every: null, cron: '30 2 * * 0' } })
    expect(again.body.next.length).toBeGreaterThan(0)
    expectProblem(await call('POST', at, { every: '24h', cron: '0 3 * * *' }), 400, 'invalid_input')
    expectProblem(await call('POST', `${unknown}/schedule`, { every: '1h' }), 404, 'not_found')
    await service.stopRepeating(body.id)
  })
})

describe('GET /v1/validations/{id}/schedule', () => {
  test('404 where nothing repeats it', async () => {
    const { call } = await startApi()
    const { body } = await call('POST', '/v1/validations', candidateRequest())
    expectProblem(await call('GET', `/v1/validations/${body.id}/schedule`), 404, 'not_found')
    await call('POST', `/v1/validations/${body.id}/schedule`, { every: '24h' })
    const found = await call('GET', `/v1/validations/${body.id}/schedule`)
    expect(found.body).toMatchObject({ validation: body.id, every: '24h', recent: [] })
    await call('DELETE', `/v1/validations/${body.id}/schedule`)
  })
})

describe('DELETE /v1/validations/{id}/schedule', () => {
  test('ends it once', async () => {
    const { call } = await startApi()
    const { body } = await call('POST', '/v1/validations', candidateRequest())
    await call('POST', `/v1/validations/${body.id}/schedule`, { every: '24h' })
    expect((await call('DELETE', `/v1/validations/${body.id}/schedule`)).status).toBe(204)
    expectProblem(await call('DELETE', `/v1/validations/${body.id}/schedule`), 404, 'not_found')
  })
})

describe('GET /v1/blessings', () => {
  test('lists the newest first, filtered by model and verdict', async () => {
    const { call, store } = await startApi()
    const good = blessingFor()
    const bad = blessingFor({ verdict: 'NOT_BLESSED', model: { ...good.model, name: 'other' } })
    await storeBlessing(store, good)
    await storeBlessing(store, bad)
    const ids = async (query: string) =>
      (await call('GET', `/v1/blessings${query}`)).body.results.map(({ id }: { id: string }) => id)
    expect(await ids('')).toEqual([bad.id, good.id])
    expect(await ids('?verdict=BLESSED')).toEqual([good.id])
    expect(await ids('?model_name=other')).toEqual([bad.id])
    expect(await ids('?model_name=other&verdict=BLESSED')).toEqual([])
    expectProblem(await call('GET', '/v1/blessings?verdict=GOOD'), 400, 'invalid_input')
  })
})

describe('GET /v1/blessings/{id}', () => {
  test('shows the record as it was written', async () => {
    const { call, store } = await startApi()
    const blessing = blessingFor()
    await storeBlessing(store, blessing)
    const { status, body } = await call('GET', `/v1/blessings/${blessing.id}`)
    expect(status).toBe(200)
    expect(body).toEqual({ ...blessing, revokedAt: null, revokedReason: null })
    expectProblem(await call('GET', '/v1/blessings/nobody'), 404, 'not_found')
  })
})

describe('POST /v1/blessings/{id}/revoke', () => {
  test('revokes once; the first reason stays', async () => {
    const { call, store } = await startApi()
    const blessing = blessingFor()
    await storeBlessing(store, blessing)
    const at = `/v1/blessings/${blessing.id}/revoke`
    const first = await call('POST', at, { reason: 'recalled' })
    expect(first).toMatchObject({ status: 200, body: { id: blessing.id, revokedReason: 'recalled' } })
    const second = await call('POST', at)
    expect(second.body).toMatchObject({ revokedAt: first.body.revokedAt, revokedReason: 'recalled' })
    expectProblem(await call('POST', '/v1/blessings/nobody/revoke'), 404, 'not_found')
    expectProblem(await call('POST', at, { why: 1 }), 400, 'invalid_input')
  })
})
