/** W3C trace context: what a caller sends is continued by hooks, answers, records and pushes. */

import { createServer } from 'node:http'
import { expect, onTestFinished, test, vi } from 'vitest'
import {
  createModelServer,
  type ServerOptions,
  type TraceContext,
  traceparent,
} from '../modelserver/index.ts'
import { modelOf } from './support/sample-models.ts'

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'
const caller = `00-${traceId}-00f067aa0ba902b7-01`
const ours = new RegExp(`^00-${traceId}-(?!00f067aa0ba902b7)[0-9a-f]{16}-01$`)

async function start(options: ServerOptions = {}) {
  const seen: Array<TraceContext | undefined> = []
  const predict = (_: unknown, ctx: { trace: TraceContext | undefined }) => {
    seen.push(ctx.trace)
    return [1]
  }
  const server = createModelServer(options).addModel('m', { class: modelOf({ predict }) })
  onTestFinished(() => server.stop())
  await server.start()
  const infer = (headers: Record<string, string>, path = '/v2/models/m/infer') =>
    server.test(path, { body: { inputs: [1], instances: [1] }, headers })
  return { server, seen, infer }
}

test('the trace goes on in the hooks and the answer, with a span of its own', async () => {
  const { seen, infer } = await start()
  for (const path of ['/v2/models/m/infer', '/v1/models/m:predict']) {
    const { headers } = await infer({ traceparent: caller, tracestate: 'vendor=1' }, path)
    const trace = seen.pop()
    expect(trace).toMatchObject({ traceId, parentId: '00f067aa0ba902b7', flags: '01', state: 'vendor=1' })
    expect(headers.get('traceresponse')).toBe(trace && traceparent(trace))
    expect(headers.get('traceresponse')).toMatch(ours)
  }
})

test.each([
  ['nothing', undefined],
  ['an id of zeros', `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`],
  ['capitals', caller.toUpperCase()],
  ['a version that is forbidden', `ff${caller.slice(2)}`],
  ['more than its version has', `${caller}-more`],
])('%s is no trace', async (_, sent) => {
  const { seen, infer } = await start()
  const { headers } = await infer(sent === undefined ? {} : { traceparent: sent })
  expect([seen, headers.get('traceresponse')]).toEqual([[undefined], null])
})

test('records carry the trace, and are pushed as part of it', async () => {
  const pushed: Array<{ header: unknown; record: unknown }> = []
  const sink = createServer(async (request, response) => {
    const record: unknown = JSON.parse((await Array.fromAsync(request)).join(''))
    pushed.push({ header: request.headers.traceparent, record })
    response.end()
  })
  await new Promise<void>((resolve) => sink.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void sink.close())
  const address = sink.address()
  const port = typeof address === 'object' ? address?.port : undefined
  const { infer } = await start({
    functionUri: 'p/f',
    parameters: { log_stream: `http://127.0.0.1:${port}/` },
  })
  const { headers } = await infer({ traceparent: caller })
  const answered = headers.get('traceresponse')
  await infer({})
  await vi.waitFor(() => expect(pushed).toHaveLength(2), 20_000)
  expect(pushed).toMatchObject([
    { header: answered, record: { traceparent: answered } },
    { header: undefined, record: { model: 'm' } },
  ])
  expect(pushed[1]?.record).not.toHaveProperty('traceparent')
})
