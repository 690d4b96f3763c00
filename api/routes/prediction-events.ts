/** `GET /v1/predictions/{id}/events`: a prediction's way as server-sent events, resumable by `Last-Event-ID`. */
import { createRoute } from '@hono/zod-openapi'
import { z } from 'zod'
import { ServiceError } from '../../contracts/errors.ts'
import { parseJson, printJson } from '../../contracts/json.ts'
import { objectWords, outputText } from '../../contracts/prediction-text.ts'
import { isTerminal } from '../../contracts/statuses.ts'
import type { StoredPrediction } from '../../records/store.ts'
import type { ApiDeps } from '../deps.ts'
import { problems } from '../described.ts'
import { type Api, mount } from '../surface.ts'

const route = createRoute({
  method: 'get',
  path: '/v1/predictions/{id}/events',
  summary: 'Events of a prediction: status, output, error, done',
  description: '`Last-Event-ID` resumes. `only=output,error,done` leaves out the others.',
  request: { params: z.object({ id: z.string() }), query: z.object({ only: z.string().optional() }) },
  responses: {
    200: { content: { 'text/event-stream': { schema: z.string() } }, description: 'Until `done`' },
    ...problems(404, 503),
  },
})

interface Event {
  /** The same in every stream of this prediction, so that `Last-Event-ID` resumes anywhere. */
  id: number
  event: 'status' | 'output' | 'error' | 'done'
  data: string
}

const lookMs = 250
const heartbeatMs = 15_000
const streamHeaders = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-cache',
  'x-accel-buffering': 'no',
}

export function mountPredictionEvents(app: Api, { service, store, ...deps }: ApiDeps): void {
  mount(app, deps, route, 'modern', async (c) => {
    const id = c.req.param('id') ?? ''
    const first = await store.get(id)
    if (first === undefined) throw new ServiceError('not_found', 'prediction not found')
    let sent = Number(c.req.header('last-event-id')) || 0
    const only = c.req.query('only')?.split(',')
    let record: StoredPrediction | undefined = first
    let lastSentMs = performance.now()
    let left = false

    const frames = new ReadableStream<Uint8Array>({
      async pull(controller) {
        while (!left) {
          const news = (record === undefined ? [] : eventsOf(record)).filter(
            ({ id, event }) => id > sent && (only === undefined || only.includes(event)),
          )
          if (news.length > 0) {
            controller.enqueue(Buffer.from(news.map(frameOf).join('')))
            sent = news.at(-1)?.id ?? sent
            lastSentMs = performance.now()
          }
          if (record === undefined || isTerminal(record.status)) return controller.close()
          if (news.length > 0) return
          record = await service.waitFor(id, lookMs)
          if (performance.now() - lastSentMs > heartbeatMs) {
            lastSentMs = performance.now()
            return controller.enqueue(Buffer.from(': \n\n'))
          }
        }
      },
      cancel() {
        left = true
      },
    })
    return new Response(frames, { headers: streamHeaders })
  })
}

/** All events up to the record's state: 1 starting, 2 processing, then each piece of output, the error, done. */
function eventsOf(record: StoredPrediction): Event[] {
  const events: Event[] = [{ id: 1, event: 'status', data: 'starting' }]
  if (record.status === 'pending') return events
  events.push({ id: 2, event: 'status', data: 'processing' })
  const add = (event: Event['event'], data: string) => events.push({ id: events.length + 1, event, data })
  for (const piece of piecesOf(record)) add('output', piece)
  if (record.status === 'running') return events
  if (record.status === 'failed') add('error', JSON.stringify({ detail: record.errorInfo }))
  add('done', doneOf(record))
  return events
}

function doneOf({ status, errorCode }: StoredPrediction): string {
  if (status === 'succeeded') return '{}'
  const reason = status === 'failed' ? 'error' : objectWords[status]
  return JSON.stringify({ reason, code: errorCode || undefined })
}

/**
 * Text as it is, a list piece by piece, anything else as JSON. Before it has succeeded only Replicate's list counts:
 * that grows to the whole output, so that each piece keeps its number.
 */
function piecesOf(record: StoredPrediction): string[] {
  const isWhole = record.status === 'succeeded'
  if (!isWhole && record.platform !== 'replicate') return []
  const output = parseJson(outputText(record))
  const pieces = Array.isArray(output) ? output : isWhole ? [output] : []
  return pieces.map((piece) => (typeof piece === 'string' ? piece : printJson(piece)))
}

function frameOf({ id, event, data }: Event): string {
  const lines = data.split(/\r\n|\r|\n/).map((line) => `data: ${line}\n`)
  return `id: ${id}\nevent: ${event}\n${lines.join('')}\n`
}
