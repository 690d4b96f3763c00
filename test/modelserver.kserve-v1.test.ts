/** Conformance cases 58 to 61 of the model-server specification: KServe V1 and its streams. */

import { expect, onTestFinished, test } from 'vitest'
import { createModelServer, InvalidInput, type ModelServer, ValueError } from '../modelserver/index.ts'
import { Cold, Dbl, Lists, modelOf, RowSums, Times } from './support/sample-models.ts'

const V1 = '/v1/models'
const rows = {
  instances: [
    [1, 2],
    [3, 4],
  ],
}
const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

async function* yields(...values: unknown[]): AsyncGenerator<string> {
  for (const value of values) {
    if (value instanceof Error) throw value
    yield value as string
  }
}

async function started(add: (server: ModelServer) => void): Promise<ModelServer> {
  const server = createModelServer({ protocol: 'oip', loadMode: 'async', logger })
  add(server)
  onTestFinished(() => server.stop({ gracePeriodMs: 100 }))
  await server.start()
  await Promise.all(server.routes.all().map(({ key, host }) => (key === 'cold' ? undefined : host?.loading)))
  return server
}

function serverO(): Promise<ModelServer> {
  return started((server) => {
    server.addModel('dbl', { class: Dbl })
    server.addModel('cold', { class: Cold })
    server.addModel('p1', { class: RowSums, protocol: 'v1' })
  })
}

function ask(server: ModelServer, path: string, body?: unknown, headers: Record<string, string> = {}) {
  return server.test(V1 + path, { silent: true, headers, ...(body === undefined ? {} : { body }) })
}

test('case 58: readiness of a model', async () => {
  const server = await serverO()
  expect((await ask(server, '/p1')).body).toEqual({ name: 'p1', ready: true })
  const cold = await ask(server, '/cold')
  expect([cold.status, cold.body]).toEqual([503, { error: 'Model with name cold is not ready.' }])
  expect((await ask(server, '')).body).toEqual({ models: ['dbl', 'cold', 'p1'] })
  expect((await ask(server, '/nope')).status).toBe(404)
})

test('case 59: predict and explain answer the outputs alone', async () => {
  const server = await serverO()
  expect((await ask(server, '/p1:predict', rows)).body).toEqual({ predictions: [6, 14] })
  expect((await ask(server, '/p1:explain', rows)).body).toEqual({
    explanations: [{ weights: [0.5, 0.5] }, { weights: [0.5, 0.5] }],
  })
})

test('case 60: existence, readiness and the body are checked in that order', async () => {
  const server = await serverO()
  const scalar = await ask(server, '/p1:predict', { instances: 5 })
  expect([scalar.status, scalar.body]).toEqual([400, { error: 'Expected "instances" to be a list' }])
  const bad = await ask(server, '/p1:predict', '{bad')
  expect(bad.status).toBe(400)
  expect((bad.body as { error: string }).error).toMatch(/^Unrecognized request format/)
  expect((await ask(server, '/nope:predict', { instances: [] })).status).toBe(404)
  expect((await ask(server, '/cold:predict', { instances: [] })).status).toBe(503)
  expect((await ask(server, '/dbl:predict', { instances: [] })).status).toBe(501)
})

test('case 61: errors of V1 models, and their streams as lines or server-sent events', async () => {
  const server = await started((made) => {
    const v1 = (predict: () => unknown) => ({ class: modelOf({ predict }), protocol: 'v1' })
    made.addModel(
      'rejects',
      v1(() => Promise.reject(new InvalidInput('rejected by model'))),
    )
    made.addModel(
      'throws',
      v1(() => Promise.reject(new ValueError('bad value'))),
    )
    made.addModel(
      'streams',
      v1(() => yields('a', 'b')),
    )
    made.addModel(
      'breaks',
      v1(() => yields('a', new ValueError('broke'))),
    )
    made.addModel(
      'first',
      v1(() => yields(new ValueError('broke'))),
    )
  })
  const rejected = await ask(server, '/rejects:predict', rows)
  expect([rejected.status, rejected.body]).toEqual([400, { error: 'rejected by model' }])
  const thrown = await ask(server, '/throws:predict', rows)
  expect([thrown.status, thrown.body]).toEqual([500, { error: 'ValueError: bad value' }])
  const unwritten = await ask(server, '/throws:explain', rows)
  expect([unwritten.status, unwritten.body]).toEqual([
    501,
    { error: 'explain is not implemented for model throws' },
  ])
  const lines = await ask(server, '/streams:predict', rows)
  expect(lines.contentType).toBe('application/x-ndjson')
  expect(lines.text).toBe('{"id":0,"data":"a"}\n{"id":1,"data":"b"}\n')
  const events = await ask(server, '/streams:predict', rows, { accept: 'text/event-stream' })
  expect(events.contentType).toBe('text/event-stream')
  expect(events.text).toBe('data: a\n\ndata: b\n\n')
  const broken = await ask(server, '/breaks:predict', rows)
  expect(broken.text).toBe('{"id":0,"data":"a"}\n{"error":"ValueError: broke"}\n')
  expect((await ask(server, '/first:predict', rows)).status).toBe(500)
})

test('instances are handed over as inputs to models of any other protocol', async () => {
  const server = await started((made) => {
    made.addModel('lists', { class: Lists, protocol: 'v2' })
    made.addModel('times', { class: Times, protocol: 'v2' })
  })
  expect((await ask(server, '/lists:predict', { instances: [1, 2] })).body).toEqual({ predictions: [1, 2] })
  expect((await ask(server, '/times:explain', { instances: [1, 2] })).body).toEqual({ explained: 1 })
})

test('POST :generate streams what the hook yields for the body as it is', async () => {
  const server = await started((made) => {
    const generate = (body: Record<string, unknown>) => yields(body.prompt, 'b')
    made.addModel('g', { class: modelOf({ generate }), protocol: 'v1' })
    made.addModel('none', { class: Lists, protocol: 'v1' })
  })
  expect((await ask(server, '/g:generate', { prompt: 'p' })).text).toBe(
    '{"id":0,"data":"p"}\n{"id":1,"data":"b"}\n',
  )
  const none = await ask(server, '/none:generate', { prompt: 'p' })
  expect([none.status, none.body]).toEqual([501, { error: 'generate is not implemented for model none' }])
})
