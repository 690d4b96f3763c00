/** The OpenAPI 3.1 document of a server. */
import type { ModelServer } from './server.ts'

export function openapiDocument(server: ModelServer): object {
  return {
    openapi: '3.1.0',
    info: { title: server.options.name ?? 'perdure', version: server.options.version || '0' },
    paths: {},
  }
}
