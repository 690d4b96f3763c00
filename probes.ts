/** What a process without a public surface answers to those who watch it: `/live`, `/ready`, `/metrics`. Listens nowhere itself. */
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
        await inTime(ready())
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

async function inTime(answer: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new ServiceError('store_unavailable', 'no answer in time')),
      readyWithinMs,
    )
  })
  try {
    await Promise.race([answer, late])
  } finally {
    clearTimeout(timer)
  }
}
