/** The OpenAPI document as a page. Its script comes from the installed package, from no CDN. */

import { readFile } from 'node:fs/promises'
import { Reply } from './reply.ts'

/** Nothing that leaves the machine: no fonts, telemetry, assistants or links to services of others. */
const configuration = JSON.stringify({
  withDefaultFonts: false,
  telemetry: false,
  agent: { disabled: true },
  mcp: { disabled: true },
  showDeveloperTools: 'never',
  hideClientButton: true,
})

const html = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Model server</title><link rel="icon" href="data:,"></head>
<body>
<script id="api-reference" data-url="/openapi.json" data-configuration='${configuration}'></script>
<script src="/docs/reference.js"></script>
</body>
</html>
`

export function docsPage(): Reply {
  return new Reply(200, 'text/html; charset=utf-8', html)
}

export async function docsScript(): Promise<Reply> {
  const script = new URL('browser/standalone.js', import.meta.resolve('@scalar/api-reference'))
  const headers = { 'cache-control': 'max-age=86400' }
  return new Reply(200, 'text/javascript; charset=utf-8', await readFile(script), headers)
}
