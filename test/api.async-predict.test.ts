/** `POST /async/v1/predict` with its outcomes; bad input is api.bad-input.test.ts. */
import { describe, expect, test } from 'vitest'
import { ServiceError } from '../contracts/errors.ts'
import { startTestApi } from './support/api-app.ts'

const body = { model_name: 'm', inputs: { inputs: [1] } }

describe('POST /async/v1/predict', () => {
  test('answers with the id alone, and the record can be read from then on', async () => {
    const { post, get, platform } = await startTestApi()
    const response = await post('/async/v1/predict', body, { uid: 'user 7' })
    expect(response.status).toBe(200)
    const answer = (await response.json()) as { id: string }
    expect(Object.keys(answer)).toEqual(['id'])
    const record = await (await get(`/task/${answer.id}`)).json()
    expect(record).toMatchObject({ id: answer.id, status: 'pending', outputs: null, queue_num: 0 })
    expect(platform.calls).toHaveLength(0)
  })

  test('the user named by UID is kept with the record, not shown in it', async () => {
    const { post, get, store } = await startTestApi()
    const { id } = (await (await post('/async/v1/predict', body, { UID: 'user 7' })).json()) as { id: string }
    expect((await store.get(id))?.uid).toBe('user 7')
    expect(await (await get(`/task/${id}`)).text()).not.toContain('user 7')
  })

  test('beyond MAX_QUEUE_SIZE it is 429 with the inherited text and Retry-After', async () => {
    const { post, records } = await startTestApi({ settings: { maxQueueSize: 2 } })
    const answers = await Promise.all(Array.from({ length: 5 }, () => post('/async/v1/predict', body)))
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 429, 429, 429])
    const full = answers.find(({ status }) => status === 429)
    expect(full?.headers.get('retry-after')).toBe('1')
    expect(await full?.json()).toEqual({
      error: 'the prediction task queue is full, please wait for a while',
      code: 'queue_full',
    })
    expect(await records()).toBe(2)
  })

  test.each(['store_unavailable', 'temporal_unavailable', 'draining'] as const)(
    '%s is 503 with Retry-After',
    async (code) => {
      const submit = () => Promise.reject(new ServiceError(code, 'not now', { retryAfterMs: 1_500 }))
      const { post } = await startTestApi({ service: { submit } })
      const response = await post('/async/v1/predict', body)
      expect(response.status).toBe(503)
      expect(response.headers.get('retry-after')).toBe('2')
      expect(await response.json()).toEqual({ error: 'not now', code })
    },
  )

  test('an error that nobody foresaw is 500 without its text, and is logged', async () => {
    const submit = () => Promise.reject(new Error('connect ECONNREFUSED 10.1.2.3:6379'))
    const { post, logged } = await startTestApi({ service: { submit } })
    const response = await post('/async/v1/predict', body)
    expect(response.status).toBe(500)
    expect(await response.json()).toEqual({ error: 'internal error', code: 'internal' })
    expect(logged.some(({ severity }) => severity === 'ERROR')).toBe(true)
  })

  test('100 posts with one key make one prediction; another body under it is 422', async () => {
    const { post, records } = await startTestApi()
    const headers = { 'idempotency-key': 'once' }
    const answers = await Promise.all(
      Array.from({ length: 100 }, async () => (await post('/async/v1/predict', body, headers)).text()),
    )
    expect(new Set(answers).size).toBe(1)
    expect(await records()).toBe(1)
    const other = await post('/async/v1/predict', { ...body, inputs: { inputs: [2] } }, headers)
    expect(other.status).toBe(422)
    expect(await records()).toBe(1)
  })

  test('a priority is 1 to 5', async () => {
    let priority: number | undefined
    const { post } = await startTestApi({
      service: {
        async submit(request) {
          priority = request.priority
          return { id: 'x' }
        },
      },
    })
    expect((await post('/async/v1/predict', body, { 'perdure-priority': '1' })).status).toBe(200)
    expect(priority).toBe(1)
    expect((await post('/async/v1/predict', body, { 'perdure-priority': '9' })).status).toBe(400)
  })
})
