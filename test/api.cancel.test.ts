/** `POST /cancel/{id}`; what the platform hears of it is proven with the flights. */
import { describe, expect, test } from 'vitest'
import { startTestApi } from './support/api-app.ts'

describe('POST /cancel/{id}', () => {
  test('a waiting prediction reads canceled at once; again is 200 too', async () => {
    const { post, get, waiting } = await startTestApi()
    const id = await waiting()
    for (let times = 0; times < 2; times++) {
      const response = await post(`/cancel/${id}`)
      expect(response.status).toBe(200)
      expect(await response.json()).toEqual({ id })
      expect(await (await get(`/task/${id}`)).json()).toMatchObject({ status: 'canceled' })
    }
  })

  test('an unknown id is 404', async () => {
    const { post } = await startTestApi()
    expect((await post('/cancel/nobody')).status).toBe(404)
  })

  test('a finished prediction is 403, its record unchanged', async () => {
    const { post, get } = await startTestApi()
    const done = (await (await post('/v1/predict', { model_name: 'm', inputs: {} })).json()) as { id: string }
    const response = await post(`/cancel/${done.id}`)
    expect(response.status).toBe(403)
    expect(await response.json()).toMatchObject({ code: 'already_terminal' })
    expect(await (await get(`/task/${done.id}`)).json()).toEqual(done)
  })
})
