/** The routing table as callers see it. */
import { describe, expect, test } from 'vitest'
import { startTestApi } from './support/api-app.ts'

const models = {
  models: {
    iris: { platform: 'v2', address: '10.9.8.7:8080', versions: ['2'], timeout: '30s', gate: 'warn' },
    'acme/cat': { platform: 'k8s', address: '10.9.8.7:8002' },
  },
} as const
const table = { models: structuredClone(models) as never }

describe('GET /v1/models', () => {
  test('lists the models file without addresses', async () => {
    const { get } = await startTestApi(table)
    const response = await get('/v1/models')
    const text = await response.text()
    expect(response.status, text).toBe(200)
    expect(text).not.toContain('10.9.8.7')
    expect(JSON.parse(text)).toMatchObject({
      next: null,
      previous: null,
      results: [
        {
          owner: 'perdure',
          name: 'iris',
          platform: 'v2',
          versions: ['2'],
          timeout_seconds: 30,
          gate: 'warn',
        },
        { owner: 'acme', name: 'cat', platform: 'k8s', gate: null },
      ],
    })
  })

  test('is empty where ML_PLATFORM alone serves every name', async () => {
    const { get } = await startTestApi()
    expect(await (await get('/v1/models')).json()).toMatchObject({ results: [] })
  })
})

describe('GET /v1/models/{name}', () => {
  test('adds how long it ran lately', async () => {
    const { get, post } = await startTestApi()
    expect(await (await get('/v1/models/m')).json()).toMatchObject({ name: 'm', mean_run_seconds: null })
    await post('/v1/predict', { model_name: 'm', inputs: {} })
    const { mean_run_seconds: mean } = (await (await get('/v1/models/m')).json()) as {
      mean_run_seconds: number
    }
    expect(mean).toBeGreaterThan(0)
  })

  test('an unknown model is 404 as problem+json', async () => {
    const { get } = await startTestApi(table)
    const response = await get('/v1/models/nobody')
    expect(response.status).toBe(404)
    expect(response.headers.get('content-type')).toBe('application/problem+json')
    expect(await response.json()).toMatchObject({ status: 404, title: 'Not Found', code: 'model_unknown' })
  })
})

describe('GET /v1/models/{owner}/{name}', () => {
  test('finds a listed name, and the house’s own models', async () => {
    const { get } = await startTestApi(table)
    expect(await (await get('/v1/models/acme/cat')).json()).toMatchObject({ owner: 'acme', name: 'cat' })
    expect(await (await get('/v1/models/perdure/iris')).json()).toMatchObject({ name: 'iris' })
    expect((await get('/v1/models/nobody/iris')).status).toBe(404)
  })
})

describe('GET /v1/models/{owner}/{name}/versions/{version}', () => {
  test('finds what a prediction can be made of', async () => {
    const { get } = await startTestApi(table)
    const found = await get('/v1/models/perdure/iris/versions/2')
    expect(found.status).toBe(200)
    expect(await found.json()).toEqual({
      id: '2',
      created_at: '1970-01-01T00:00:00.000Z',
      cog_version: '',
      openapi_schema: {},
    })
    expect((await get('/v1/models/perdure/iris/versions/3')).status).toBe(404)
  })
})
