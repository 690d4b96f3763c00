/** The OpenAPI document, its page, and the rule that every route in it has its tests. */
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { startTestApi } from './support/api-app.ts'

interface Operation {
  summary?: string
  parameters?: { name: string; in: string; required?: boolean; schema: { description?: string } }[]
  responses: Record<string, unknown>
}

interface Document {
  openapi: string
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, unknown> }
}

async function openapi(): Promise<Document> {
  const { get } = await startTestApi()
  const response = await get('/openapi.json')
  expect(response.status).toBe(200)
  return (await response.json()) as Document
}

describe('GET /openapi.json', () => {
  test('is OpenAPI 3.1 and describes every route with its answers', async () => {
    const document = await openapi()
    expect(document.openapi).toBe('3.1.0')
    expect(document.components.schemas).toHaveProperty('TaskRecord')
    for (const [path, methods] of Object.entries(document.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        expect(operation.summary, `${method} ${path}`).toBeTruthy()
        expect(Object.keys(operation.responses), `${method} ${path}`).not.toHaveLength(0)
      }
    }
  })

  test.each([
    ['/v1/predictions', ['Prefer', 'Idempotency-Key', 'Cancel-After', 'Perdure-Priority', 'UID']],
    ['/v1/models/{owner}/{name}/predictions', ['Prefer', 'Idempotency-Key', 'Cancel-After']],
    ['/v1/predictions/{id}/retry', ['Prefer', 'Idempotency-Key', 'Cancel-After']],
    ['/v1/predict', ['Prefer', 'Idempotency-Key', 'Cancel-After', 'UID']],
    ['/async/v1/predict', ['Idempotency-Key', 'Cancel-After', 'Perdure-Priority', 'UID']],
  ])('POST %s names its headers, none of them required', async (path, names) => {
    const { paths } = await openapi()
    const operation = paths[path]!.post!
    const headers = operation.parameters!.filter((one) => one.in === 'header')
    expect(headers.map(({ name }) => name)).toEqual(expect.arrayContaining(names))
    for (const { name, required, schema } of headers) {
      expect(required ?? false, name).toBe(false)
      expect(schema.description, name).toBeTruthy()
    }
    expect(operation.responses).toHaveProperty('422')
  })

  test('the list names its filters', async () => {
    const { paths } = await openapi()
    const query = paths['/v1/predictions']!.get!.parameters!.filter((one) => one.in === 'query')
    expect(query.map(({ name }) => name)).toEqual([
      'cursor',
      'status',
      'code',
      'model',
      'created_after',
      'created_before',
      'source',
    ])
  })

  test('webhooks are ordered, shown and delivered as the schemas say', async () => {
    const { components, paths } = await openapi()
    const membersOf = (name: string) => components.schemas[name] as { properties: object; required: string[] }
    const events = {
      type: 'array',
      items: { type: 'string', enum: ['start', 'output', 'logs', 'completed'] },
    }
    for (const order of ['CreatePrediction', 'CreateOwnedPrediction']) {
      expect(membersOf(order).properties).toMatchObject({
        webhook: { type: 'string' },
        webhook_events_filter: events,
      })
    }
    expect(membersOf('Prediction').properties).toMatchObject({
      webhook: { type: 'string' },
      webhook_events_filter: events,
      deadline: { type: 'string' },
      retry_of: { type: 'string' },
      logs: { type: 'string' },
    })
    expect(membersOf('Prediction').required).not.toContain('webhook')
    expect(paths['/v1/predictions/{id}/deliveries']).toHaveProperty('get')
    expect(paths['/v1/predictions/{id}/deliveries/{delivery}/redeliver']).toHaveProperty('post')
    expect(membersOf('Delivery').required).toEqual(
      expect.arrayContaining(['id', 'event', 'url', 'status', 'attempts', 'next_at']),
    )
  })

  test('a prediction with everything has no member that its schema lacks', async () => {
    const api = await startTestApi({ webhookGuard: { refusalNow: async () => undefined } })
    const body = { version: 'm', input: {}, webhook: 'https://hooks.test/a' }
    const first = (await (await api.post('/v1/predictions', body)).json()) as { id: string }
    await api.post(`/v1/predictions/${first.id}/cancel`)
    const retry = await api.post(`/v1/predictions/${first.id}/retry`, undefined, { 'cancel-after': '1h' })
    const { components } = (await (await api.get('/openapi.json')).json()) as Document
    const { properties } = components.schemas.Prediction as { properties: object }
    const shown = (await retry.json()) as object
    expect(shown).toMatchObject({ webhook: body.webhook, retry_of: first.id, deadline: expect.any(String) })
    expect(Object.keys(shown).filter((name) => !Object.hasOwn(properties, name))).toEqual([])
  })

  test('the page about the HTTP API names every header and every route for predictions', async () => {
    const { paths } = await openapi()
    const page = readFileSync(new URL('../docs/http-api.md', import.meta.url), 'utf8')
    const routes = Object.keys(paths).filter((path) => path.startsWith('/v1/predictions'))
    for (const path of routes) expect(page).toContain(path)
    for (const { name } of paths['/v1/predictions']!.post!.parameters!) expect(page).toContain(`\`${name}`)
    for (const { name } of paths['/v1/predictions']!.get!.parameters!.slice(1)) {
      expect(page).toContain(`\`${name}`)
    }
    expect(page).toContain('webhooks.md')
  })

  test('every route in it has its tests', async () => {
    const document = await openapi()
    const folder = new URL('.', import.meta.url)
    const tested = readdirSync(folder)
      .filter((name) => /^api\..*\.test\.ts$/.test(name))
      .map((name) => readFileSync(new URL(name, folder), 'utf8'))
      .join('\n')
    const untested = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods)
        .map((method) => `${method.toUpperCase()} ${path}`)
        .filter((route) => !tested.includes(`describe('${route}'`)),
    )
    expect(untested).toEqual([])
  })
})

describe('GET /docs', () => {
  test('loads its script from this server and nothing from elsewhere', async () => {
    const { get } = await startTestApi()
    const response = await get('/docs')
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toMatch(/^text\/html/)
    const html = await response.text()
    const [, source] = /<script[^>]+src="([^"]+)"/.exec(html) ?? []
    expect(source).toBe('/docs/reference.js')
    expect(html).not.toMatch(/(src|href)="https?:/)
    const script = await get(source ?? '')
    expect(script.status).toBe(200)
    expect(script.headers.get('content-type')).toMatch(/^text\/javascript/)
    expect((await script.text()).length).toBeGreaterThan(100_000)
  })
})
