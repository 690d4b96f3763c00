/** `POST /v1/generate`: a prediction whose text comes piece by piece, as server-sent events or as JSON lines. */
import { createRoute } from '@hono/zod-openapi'
import { z } from 'zod'
import { legacyText, ServiceError } from '../../contracts/errors.ts'
import { PredictRequest } from '../../contracts/predictions.ts'
import { acceptAsked, askedIn } from '../accept.ts'
import { readJsonObject } from '../body.ts'
import type { ApiDeps, ApiSettings } from '../deps.ts'
import { inheritedErrors, jsonRequest } from '../described.ts'
import { openGate } from '../gate.ts'
import type { Generation, Generations } from '../generation.ts'
import { orQuiet, quiet } from '../quiet.ts'
import { type Api, mount } from '../surface.ts'

const route = createRoute({
  method: 'post',
  path: '/v1/generate',
  summary: 'Predict and stream the text',
  description:
    '`Accept: text/event-stream` or `application/x-ndjson`; else what GENERATE_DEFAULT says. Headers: `UID`, ' +
    '`Idempotency-Key` (the text of the earlier prediction in one piece, once it has ended).',
  request: jsonRequest(PredictRequest),
  responses: {
    200: {
      content: {
        'text/event-stream': { schema: z.string() },
        'application/x-ndjson': { schema: z.string() },
      },
      description: 'Pieces `{"id": n, "data": text}` to the end',
    },
    ...inheritedErrors(400, 403, 404, 409, 413, 422, 429, 500, 501, 502, 503, 504),
  },
})

/** How pieces look on the wire. */
interface Framing {
  contentType: string
  piece(n: number, data: string): string
  failed(error: string): string
  done(id: string, status: string): string
  /** Keeps proxies from closing a silent stream; empty if the form has none. */
  heartbeat: string
}

const framings: Readonly<Record<'sse' | 'ndjson', Framing>> = {
  sse: {
    contentType: 'text/event-stream',
    piece: (n, data) => `id: ${n}\ndata: ${JSON.stringify({ id: n, data })}\n\n`,
    failed: (error) => `event: error\ndata: ${JSON.stringify({ error })}\n\n`,
    done: (id, status) => `event: done\ndata: ${JSON.stringify({ id, status })}\n\n`,
    heartbeat: ': \n\n',
  },
  ndjson: {
    contentType: 'application/x-ndjson',
    piece: (n, data) => `${JSON.stringify({ id: n, data })}\n`,
    failed: (error) => `${JSON.stringify({ error })}\n`,
    done: () => '',
    heartbeat: '',
  },
}

const heartbeatMs = 15_000

export function mountGenerate(
  app: Api,
  deps: ApiDeps,
  settings: ApiSettings,
  generations: Generations,
): void {
  const { routing, gate = openGate } = deps
  mount(app, deps, route, 'inherited', async (c) => {
    const asked = askedIn(await readJsonObject(c, settings.maxBodyBytes))
    const request = acceptAsked(c, asked, routing, settings.uploadWebhook)
    if (request.cancelAfterMs !== undefined) {
      throw new ServiceError('not_implemented', 'Cancel-After is not supported on streams')
    }
    const framing = framings[framingIn(c.req.header('accept')) ?? settings.generateDefault ?? 'sse']
    return gate.serve(request.target, async () => {
      const generation = await generations.start(request, c.req.raw.signal)
      return new Response(framed(generation, framing), {
        headers: {
          'content-type': framing.contentType,
          'cache-control': 'no-cache',
          'x-accel-buffering': 'no',
        },
      })
    })
  })
}

function framingIn(accept = ''): 'sse' | 'ndjson' | undefined {
  if (accept.includes('text/event-stream')) return 'sse'
  return accept.includes('application/x-ndjson') ? 'ndjson' : undefined
}

function framed(generation: Generation, framing: Framing): ReadableStream<Uint8Array> {
  let n = 0
  let waiting: Promise<string | undefined> | undefined
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const send = (text: string) => {
        if (text !== '') controller.enqueue(Buffer.from(text))
      }
      try {
        waiting ??= generation.next()
        const piece = await (framing.heartbeat === '' ? waiting : orQuiet(waiting, heartbeatMs))
        if (piece === quiet) return send(framing.heartbeat)
        waiting = undefined
        if (piece !== undefined) return send(framing.piece(n++, piece))
        send(framing.done(generation.id, generation.status()))
      } catch (error) {
        send(framing.failed(error instanceof ServiceError ? legacyText(error) : 'internal error'))
      }
      controller.close()
    },
    async cancel() {
      waiting?.catch(() => undefined)
      await generation.abandon()
    },
  })
}
