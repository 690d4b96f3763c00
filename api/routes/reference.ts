/** `/openapi.json` (3.1) and `/docs`, the page made from it. Its script comes from this server, from no CDN. */
import { readFile } from 'node:fs/promises'
import { createRoute, z } from '@hono/zod-openapi'
import { Scalar } from '@scalar/hono-api-reference'
import { observe } from '../../runtime/http/observe.ts'
import type { ApiDeps } from '../deps.ts'
import { json } from '../record.ts'
import { type Api, type ApiEnv, mount } from '../surface.ts'

const documentRoute = createRoute({
  method: 'get',
  path: '/openapi.json',
  summary: 'This document',
  responses: {
    200: { content: { 'application/json': { schema: z.unknown() } }, description: 'OpenAPI 3.1' },
  },
})

const pageRoute = createRoute({
  method: 'get',
  path: '/docs',
  summary: 'This document as a page',
  responses: { 200: { content: { 'text/html': { schema: z.string() } }, description: 'HTML' } },
})

const scriptPath = '/docs/reference.js'

/** Mounted last: the document lists what is there by then. */
export function mountReference(app: Api, deps: Pick<ApiDeps, 'metrics' | 'log'>): void {
  let document: ReturnType<Api['getOpenAPI31Document']> | undefined
  mount(app, deps, documentRoute, 'inherited', () => {
    document ??= app.getOpenAPI31Document({
      openapi: '3.1.0',
      info: {
        title: 'Perdure',
        version: '0.1.0',
        description: 'Predictions that are never lost, served only by validated models.',
      },
    })
    return json(document)
  })

  const page = Scalar<ApiEnv>({
    url: '/openapi.json',
    // Its example commands then name this server.
    servers: [{ url: '/' }],
    cdn: scriptPath,
    pageTitle: 'Perdure API',
    withDefaultFonts: false,
    telemetry: false,
    agent: { disabled: true },
    mcp: { disabled: true },
    // It leads to another site.
    hideClientButton: true,
    showDeveloperTools: 'never',
  })
  mount(app, deps, pageRoute, 'inherited', async (c) => {
    const html = await page(c, async () => {})
    if (!(html instanceof Response)) throw new Error('the reference page has no body')
    return html
  })

  const script = new URL('browser/standalone.js', import.meta.resolve('@scalar/api-reference'))
  app.get(
    scriptPath,
    observe(deps, scriptPath, 'inherited', async () => {
      const headers = { 'content-type': 'text/javascript; charset=utf-8', 'cache-control': 'max-age=86400' }
      return new Response(await readFile(script), { headers })
    }),
  )
}
