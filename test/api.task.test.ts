/** `GET /task/{id}`. */
import { describe, expect, test } from 'vitest'
import { ServiceError } from '../contracts/errors.ts'
import { startTestApi } from './support/api-app.ts'

describe('GET /task/{id}', () => {
  test('shows the record while it waits', async () => {
    const { get, waiting } = await startTestApi()
    const id = await waiting()
    const response = await get(`/task/${id}`)
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toBe('application/json; charset=utf-8')
    expect(await response.json()).toMatchObject({ id, status: 'pending', running_time: '', error_info: '' })
  })

  test.each(['nobody', '00000000-0000-4000-8000-000000000000', '%00', '..%2f..%2fetc', "'%20or%201=1"])(
    'the unknown id %s is 404',
    async (id) => {
      const { get } = await startTestApi()
      const response = await get(`/task/${id}`)
      expect(response.status).toBe(404)
      expect(await response.json()).toEqual({ error: 'task not found', code: 'not_found' })
    },
  )

  test('503 with Retry-After while the store is away', async () => {
    const api = await startTestApi()
    api.deps.store.get = () => Promise.reject(new ServiceError('store_unavailable', 'the store is away'))
    const response = await api.get('/task/x')
    expect(response.status).toBe(503)
    expect(response.headers.get('retry-after')).toBe('1')
  })

  test('a wrong method is 405 with Allow', async () => {
    const { post } = await startTestApi()
    const response = await post('/task/x')
    expect(response.status).toBe(405)
    expect(response.headers.get('allow')).toBe('GET')
  })
})
