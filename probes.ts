/** What a process without a public surface answers to those who watch it: `/live`, `/ready`, `/metrics`. Listens nowhere itself. */
import { orQuiet, quiet } from './api/quiet.ts'
import { codeOf, ServiceError } from './contracts/errors.ts'
import type { Metrics } from './metrics.ts'

export interface Watched {
  /** Throws a `ServiceError` that says what is missing. */
  ready(): Promise<void>
  metrics: Pick<Metrics, 'text' | 'contentType'>
}

/** Probes wait a few seconds at most; who is away must be named within that time. */
const readyWithinMs = 3_000

/** For `serveHttp`. */
export function makeProbes({ ready, metrics }: Watched) {
  const answers: Readonly<Record<string, () => Promise<Response>>> = {
    '/live': async () => json({ message: 'OK' }),
    '/ready': async () => {
      try {
        if ((await orQuiet(ready(), readyWithinMs)) === quiet)
          throw new ServiceError('store_unavailable', 'no answer in time')
        return json({ message: 'OK' })
      } catch (error) {
        const known = error instanceof ServiceError
        return json({ error: known ? error.message : 'not ready', code: codeOf(error) }, 503)
      }
    },
    '/metrics': async () =>
      new Response(await metrics.text(), { headers: { 'content-type': metrics.contentType } }),
  }
  return {
    async fetch(request: Request): Promise<Response> {
      const { pathname } = new URL(request.url)
      const answer = request.method === 'GET' ? answers[pathname] : undefined
      return answer?.() ?? json({ error: 'page not found', code: 'not_found' }, 404)
    },
  }
}

function json(body: object, status = 200): Response {
  return Response.json(body, { status })
}
