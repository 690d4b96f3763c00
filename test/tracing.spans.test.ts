/** Traces of one process: from the request to the platform every prediction stays in its caller's trace. */
import { randomBytes } from 'node:crypto'
import { expect, onTestFinished, test, vi } from 'vitest'
import { traceparentOf, workflowTrace } from '../contracts/trace.ts'
import { startTracing } from '../tracing/start.ts'
import { inSpan } from '../tracing.ts'
import { recordHistory, startInProcess } from './support/in-process.ts'
import { soon, tracedHere } from './support/otlp-receiver.ts'
import { json } from './support/scripted-server.ts'
import { candidateRequest, startValidations } from './support/validations.ts'
import { webhookStage } from './support/webhook-stage.ts'

function newTrace() {
  const [traceId, spanId] = [randomBytes(16).toString('hex'), randomBytes(8).toString('hex')]
  return { traceId, spanId, traceparent: `00-${traceId}-${spanId}-01` }
}

const body = JSON.stringify({ model_name: 'm', inputs: { inputs: [41_424_344] } })

test('an async prediction is one chain of spans from its caller to the platform', async () => {
  const receiver = await tracedHere({ headers: { 'x-key': 'collector-secret' } })
  const { app, platform, client } = await startInProcess()
  const caller = newTrace()
  const headers = { traceparent: caller.traceparent }
  const answer = await app.request('/async/v1/predict', { method: 'POST', body, headers })
  const { id } = (await answer.json()) as { id: string }

  const names = ['POST /async/v1/predict', 'start flight', 'flight', 'fly', 'prediction', 'call v2']
  let parentId = caller.spanId
  for (const name of names) {
    const span = await receiver.span(caller.traceId, name)
    expect(span.parentId, name).toBe(parentId)
    parentId = span.spanId
  }
  expect(platform.calls[0]?.headers.traceparent).toBe(`00-${caller.traceId}-${parentId}-01`)

  const workflow = `flight-${id.slice(0, 18)}`
  const attributesOf = async (name: string) => (await receiver.span(caller.traceId, name)).attributes
  expect(await attributesOf('POST /async/v1/predict')).toMatchObject({
    'http.response.status_code': 200,
    'perdure.prediction.id': id,
    'temporal.workflow.id': workflow,
  })
  expect(await attributesOf('flight')).toMatchObject({ 'temporal.workflow.id': workflow })
  expect(await attributesOf('fly')).toMatchObject({ 'temporal.activity.attempt': 1 })
  expect(await attributesOf('prediction')).toMatchObject({
    'perdure.prediction.id': id,
    'perdure.status': 'succeeded',
  })
  await recordHistory(client, workflow, 'flight-traced')
  expect(receiver.server.calls[0]?.headers['x-key']).toBe('collector-secret')
  for (const call of receiver.server.calls) {
    expect(call.body).not.toContain('41424344')
    expect(call.body).not.toContain(platform.address)
  }
})

test('predictions that fly together stay in their own traces, linked with the one their flight is in', async () => {
  const receiver = await tracedHere()
  const { lifecycle, platform, request } = await startInProcess()
  const callers = [newTrace(), newTrace(), newTrace()]
  // Asked for in one turn of the event loop: one flight.
  const accepted = await Promise.all(
    callers.map(({ traceparent }, n) => lifecycle.service.submit(request(n, { trace: traceparent }))),
  )
  expect(new Set(accepted.map(({ id }) => id.slice(0, 18))).size).toBe(1)
  const [first] = callers
  const start = await receiver.span(first!.traceId, 'start flight')
  expect(start.links.toSorted()).toEqual(
    callers
      .slice(1)
      .map(({ traceId }) => traceId)
      .toSorted(),
  )
  await receiver.span(first!.traceId, 'flight')
  for (const [n, { traceId, spanId }] of callers.entries()) {
    const prediction = await receiver.span(traceId, 'prediction')
    const call = await receiver.span(traceId, 'call v2')
    expect(prediction.attributes['perdure.prediction.id']).toBe(accepted[n]!.id)
    const seen = platform.calls.find(({ headers }) => headers['idempotency-key'] === accepted[n]!.id)
    expect(seen?.headers.traceparent).toBe(`00-${traceId}-${call.spanId}-01`)
    if (n > 0) {
      expect(prediction).toMatchObject({ parentId: spanId, links: [first!.traceId] })
      expect(receiver.of(traceId).map(({ name }) => name)).not.toContain('fly')
    }
  }
})

test('a direct prediction and each of its tries are in the trace of the request', async () => {
  const receiver = await tracedHere()
  const { app, platform } = await startInProcess()
  platform.script(json({}, 503), json({ outputs: [1] }))
  const caller = newTrace()
  const headers = { traceparent: caller.traceparent }
  const answer = await app.request('/v1/predict', { method: 'POST', body, headers })
  expect(answer.status).toBe(200)
  await vi.waitFor(() => expect(receiver.of(caller.traceId)).toHaveLength(4), soon)
  const server = await receiver.span(caller.traceId, 'POST /v1/predict')
  const prediction = await receiver.span(caller.traceId, 'prediction')
  expect(prediction.parentId).toBe(server.spanId)
  const calls = receiver.of(caller.traceId).filter(({ name }) => name === 'call v2')
  expect(calls.map(({ failed }) => failed)).toEqual([true, false])
  expect(calls.map(({ parentId }) => parentId)).toEqual([prediction.spanId, prediction.spanId])
  expect(platform.calls.map((call) => call.headers.traceparent)).toEqual(
    calls.map(({ spanId }) => `00-${caller.traceId}-${spanId}-01`),
  )
})

test('a stream is in the trace of its request and lasts to its end', async () => {
  const receiver = await tracedHere()
  const { app, platform } = await startInProcess({
    settings: (address, timeoutMs) => ({
      platform: 'kserve',
      ...{ address, timeoutMs, customDomain: 'example.com', namespace: 'default' },
      ...{ version: '0.13.1', protocol: 'v1' },
    }),
  })
  platform.script((_call, response) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end('{"id":0,"data":"a"}{"id":1,"data":"b"}')
  })
  const caller = newTrace()
  const headers = { traceparent: caller.traceparent }
  const answer = await app.request('/v1/generate', { method: 'POST', body, headers })
  expect(await answer.text()).toContain('event: done')
  const call = await receiver.span(caller.traceId, 'call kserve')
  expect(platform.calls[0]?.headers.traceparent).toBe(`00-${caller.traceId}-${call.spanId}-01`)
  expect(call.failed).toBe(false)
})

test('the creation of a job at a provider carries the trace, its polls are no spans', async () => {
  const receiver = await tracedHere()
  const { app, platform } = await startInProcess({
    settings: (address, timeoutMs) => ({
      ...{ platform: 'runpod', address: `http://${address}`, modelId: 'e1', timeoutMs },
      apiKey: { reveal: () => 'provider-key' },
    }),
  })
  platform.script(
    json({ id: 'job-1', status: 'IN_QUEUE' }),
    json({ id: 'job-1', status: 'IN_PROGRESS' }),
    json({ id: 'job-1', status: 'COMPLETED', output: 1, executionTime: 5 }),
  )
  const caller = newTrace()
  const headers = { traceparent: caller.traceparent }
  const answer = await app.request('/v1/predict', { method: 'POST', body, headers })
  expect(answer.status, await answer.text()).toBe(200)
  const call = await receiver.span(caller.traceId, 'call runpod')
  const [creation] = platform.calls
  expect(creation).toMatchObject({ path: '/e1/run' })
  expect(creation?.headers.traceparent).toBe(`00-${caller.traceId}-${call.spanId}-01`)
  for (const { body: sent } of receiver.server.calls) expect(sent).not.toContain('provider-key')
})

test('the delivery of a webhook is in the trace of its prediction', async () => {
  const receiver = await tracedHere()
  const stage = await webhookStage()
  const caller = newTrace()
  const answer = await stage.app.request('/v1/predictions', {
    method: 'POST',
    headers: { traceparent: caller.traceparent },
    body: JSON.stringify({
      version: 'm',
      input: { inputs: [7] },
      webhook: `${stage.receiver.origin}/hook`,
      webhook_events_filter: ['completed'],
    }),
  })
  expect(answer.status).toBe(201)
  const delivery = await receiver.span(caller.traceId, 'delivery')
  expect((await receiver.span(caller.traceId, 'deliver')).parentId).toBe(delivery.spanId)
})

test('a validation is one trace: the request, its workflow, every step', async () => {
  const receiver = await tracedHere()
  const validations = await startValidations()
  await validations.startWorker()
  const id = await inSpan('POST', {}, () => validations.submit(candidateRequest()))
  await validations.ended(id)
  const workflow = await vi.waitFor(() => {
    const [found] = receiver.spans().filter(({ name }) => name === 'validation')
    expect(found).toBeDefined()
    return found!
  }, soon)
  expect(workflow.attributes['temporal.workflow.id']).toBe(id)
  const steps = receiver.of(workflow.traceId).filter(({ name }) => name !== 'validation')
  expect(steps.map(({ name }) => name)).toEqual(
    expect.arrayContaining(['openValidation', 'prepareValidation', 'writeBlessing']),
  )
})

test('without a receiver nothing is recorded and the context of the caller reaches the platform as it came', async () => {
  const { app, platform } = await startInProcess()
  const [direct, flown] = [newTrace(), newTrace()]
  const post = (path: string, headers: Record<string, string>) =>
    app.request(path, { method: 'POST', body, headers })
  await post('/v1/predict', { traceparent: direct.traceparent })
  await post('/async/v1/predict', { traceparent: flown.traceparent })
  await post('/async/v1/predict', { traceparent: '00-made-up' })
  await vi.waitFor(() => expect(platform.calls).toHaveLength(3), soon)
  const seen = platform.calls.map((call) => call.headers.traceparent)
  expect(seen.toSorted()).toEqual([direct.traceparent, flown.traceparent, undefined].toSorted())
})

test('a trace that its caller does not record is not recorded here either', async () => {
  const receiver = await tracedHere()
  const { app, platform } = await startInProcess()
  const [silent, told] = [newTrace(), newTrace()]
  const post = (traceparent: string) =>
    app.request('/async/v1/predict', { method: 'POST', body, headers: { traceparent } })
  await post(silent.traceparent.replace(/01$/, '00'))
  await post(told.traceparent)
  await receiver.span(told.traceId, 'flight')
  expect(receiver.of(silent.traceId)).toEqual([])
  const flags = platform.calls.map(({ headers }) => String(headers.traceparent).slice(3, 35))
  expect(flags).toContain(silent.traceId)
})

test('spans are sent as protobuf unless JSON is asked for', async () => {
  const receiver = await tracedHere({ protocol: 'http/protobuf' })
  await inSpan('a span to be sent', {}, async () => undefined)
  await vi.waitFor(() => expect(receiver.server.calls).toHaveLength(1), soon)
  const [call] = receiver.server.calls
  expect(call?.headers['content-type']).toBe('application/x-protobuf')
  expect(call?.body).toContain('a span to be sent')
})

test('a receiver that is away costs one warning and no time', async () => {
  const warnings: string[] = []
  const tracing = await startTracing(
    {
      url: 'http://127.0.0.1:9/v1/traces',
      ...{ protocol: 'http/json', headers: [], resource: {}, sampler: 'always_on', ratio: 1 },
    },
    'perdure-test',
    (text) => warnings.push(text),
  )
  onTestFinished(() => tracing.stop())
  expect(await inSpan('lost', {}, async () => 7)).toBe(7)
  await vi.waitFor(() => expect(warnings).toHaveLength(1), soon)
  await expect(inSpan('lost too', {}, () => Promise.reject(new Error('its own')))).rejects.toThrow('its own')
  const began = performance.now()
  await tracing.stop()
  // It waits 3 s at most.
  expect(performance.now() - began).toBeLessThan(10_000)
  expect(warnings).toHaveLength(1)
  expect(warnings[0]).not.toContain('127.0.0.1')
})

test('a workflow run has the same span wherever it goes on', () => {
  const parent = newTrace().traceparent
  const runId = '0197a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b'
  const own = workflowTrace(parent, runId)
  expect(own).toBe(workflowTrace(parent, runId))
  expect(own.slice(36, 52)).toBe('8a9b0c1d2e3f4a5b')
  expect(traceparentOf(own)).toBe(own)
  for (const wrong of ['', 'x', `01${parent.slice(2)}`, `${parent}-more`, undefined, 7]) {
    expect(traceparentOf(wrong)).toBeUndefined()
  }
})
