/** The OpenAPI document, its page, and the rule that every route in it has its tests. */
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { startTestApi } from './support/api-app.ts'

interface Document {
  openapi: string
  paths: Record<string, Record<string, { summary?: string; responses: Record<string, unknown> }>>
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
