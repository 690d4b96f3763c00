/** `POST /v1/predict` with all its outcomes. */
import { describe, expect, test, vi } from 'vitest'
import type { TaskRecord } from '../contracts/predictions.ts'
import { startTestApi } from './support/api-app.ts'
import { json, resetAfterRequest, send } from './support/scripted-server.ts'

const iris = { model_name: 'iris', inputs: { inputs: [[5.1, 3.5, 1.4, 0.2]] } }

describe('POST /v1/predict', () => {
  test('answers with the record, exactly ten keys, and the record stays readable', async () => {
    const { post, get } = await startTestApi({ answer: json({ model_name: 'iris', outputs: [2] }) })
    const response = await post('/v1/predict', iris, { 'content-type': 'text/nonsense' })
    const record = (await response.json()) as TaskRecord
    expect(response.status, JSON.stringify(record)).toBe(200)
    expect(Object.keys(record)).toEqual([
      'id',
      'model_name',
      'model_version',
      'status',
      'running_time',
      'error_info',
      'created_at',
      'outputs',
      'queue_num',
      'queue_id',
    ])
    expect(record).toMatchObject({
      model_name: 'iris',
      status: 'succeeded',
      outputs: { model_name: 'iris', outputs: [2] },
      queue_num: 0,
      error_info: '',
    })
    expect(await (await get(`/task/${record.id}`)).json()).toEqual(record)
  })

  test('numbers pass through digit for digit, both ways', async () => {
    const digits = '12345678901234567890'
    const { post, platform } = await startTestApi({ answer: json(`{"outputs":[${digits},1.50,-0,1e3]}`) })
    const response = await post('/v1/predict', `{"model_name":"m","inputs":{"n":${digits},"x":0.10}}`)
    expect(await response.text()).toContain(`"outputs":[${digits},1.50,-0,1e3]`)
    expect(platform.calls[0]?.body).toContain(`"n":${digits},"x":0.10`)
  })

  test('a platform that answers null has succeeded with null outputs', async () => {
    const { post } = await startTestApi({ platform: 'k8s', answer: json('null') })
    const response = await post('/v1/predict', iris)
    expect(response.status).toBe(200)
    expect(await response.json()).toMatchObject({ status: 'succeeded', outputs: null })
  })

  test('kserve and k8s are told where to upload, whatever the caller wrote', async () => {
    for (const platform of ['kserve', 'k8s'] as const) {
      const api = await startTestApi({ platform, answer: json({}) })
      await api.post('/v1/predict', { model_name: 'm', inputs: { upload_webhook: 'http://evil/upload' } })
      expect(api.platform.calls[0]?.body).toContain('"upload_webhook":"http://uploads.test/upload"')
      expect(api.platform.calls[0]?.body).not.toContain('evil')
    }
  })

  test.each([
    { platform: 'a 400', answer: send('{"error":"bad shape"}', 400), status: 400, code: 'platform_rejected' },
    { platform: 'a 401', answer: send('{}', 401), status: 502, code: 'platform_credentials' },
    { platform: 'a 500', answer: send('{}', 500), status: 502, code: 'platform_error' },
    { platform: 'garbage', answer: send('<html>', 200), status: 502, code: 'platform_bad_answer' },
    { platform: 'a reset', answer: resetAfterRequest, status: 502, code: 'platform_connection_lost' },
  ])('$platform of the platform is $status, and the record says why', async ({ answer, status, code }) => {
    const { post, get } = await startTestApi({ answer })
    const response = await post('/v1/predict', iris)
    const body = (await response.json()) as { error: string; code: string; id: string }
    expect(response.status, JSON.stringify(body)).toBe(status)
    expect(body.code).toBe(code)
    expect(body.error).toMatch(/^status \d{5}: /)
    expect(await (await get(`/task/${body.id}`)).json()).toMatchObject({
      status: 'failed',
      error_info: body.error,
    })
  })

  test('a busy platform is 503 with Retry-After once the retries are used up', async () => {
    const { post, platform } = await startTestApi({
      answer: send('{}', 503, { 'retry-after': '0' }),
    })
    const response = await post('/v1/predict', iris)
    expect(response.status, await response.clone().text()).toBe(503)
    expect(response.headers.get('retry-after')).toBe('1')
    expect(platform.calls.length).toBeGreaterThan(1)
  })

  test('a platform that does not answer in time is 504', async () => {
    const { post } = await startTestApi({ answer: () => undefined, taskTimeoutMs: 200 })
    const response = await post('/v1/predict', iris)
    expect(response.status, await response.clone().text()).toBe(504)
  })

  test('canceled while the caller waits is 409', async () => {
    const { post, store, platform } = await startTestApi({ answer: () => undefined })
    const answer = post('/v1/predict', iris)
    await vi.waitFor(() => expect(platform.calls).toHaveLength(1), { timeout: 10_000 })
    const [running] = (await store.list({ limit: 10 })).items
    expect((await post(`/cancel/${running?.id}`)).status).toBe(200)
    const response = await answer
    expect(response.status).toBe(409)
    expect(await response.json()).toMatchObject({ error: 'prediction was canceled' })
    await vi.waitFor(() => expect(platform.calls[0]?.aborted).toBe(true), { timeout: 10_000 })
  })

  test('a wait that runs out is 202 with a status that is not terminal', async () => {
    const { post } = await startTestApi()
    const response = await post('/v1/predict', iris, { prefer: 'wait=1' })
    expect(response.status).toBe(202)
    expect(await response.json()).toMatchObject({ status: 'pending', outputs: null })
  })

  test('one key makes one prediction; the same key with another body is 422', async () => {
    const { post, platform } = await startTestApi()
    const headers = { 'idempotency-key': 'k1' }
    const answers = await Promise.all(Array.from({ length: 20 }, () => post('/v1/predict', iris, headers)))
    const ids = await Promise.all(answers.map(async (one) => ((await one.json()) as TaskRecord).id))
    expect(new Set(ids).size).toBe(1)
    expect(platform.calls).toHaveLength(1)
    const other = await post('/v1/predict', { ...iris, inputs: {} }, headers)
    expect(other.status).toBe(422)
    expect((await post('/v1/predict', iris, { 'idempotency-key': 'a b' })).status).toBe(400)
  })

  test('a model that nobody listed is 404', async () => {
    const { post, platform, records } = await startTestApi({ models: { models: {} } })
    const response = await post('/v1/predict', iris)
    expect(response.status).toBe(404)
    expect(await response.json()).toMatchObject({ code: 'model_unknown' })
    expect(platform.calls).toHaveLength(0)
    expect(await records()).toBe(0)
  })
})
