/** The record service on the wire: `/task` and `/task/modelstatus`, as callers of the predecessor know them. */
import { request } from 'undici'
import { expect, test } from 'vitest'
import { flood } from './support/flood.ts'
import { recordService } from './support/record-service.ts'
import { admitted, flightIds, taken } from './support/stores.ts'

async function send(url: string, method: 'POST' | 'PUT' | 'GET', path: string, body?: unknown, headers = {}) {
  const text = body === undefined ? null : typeof body === 'string' ? body : JSON.stringify(body)
  const answer = await request(url + path, { method, body: text, headers })
  const got = await answer.body.text()
  return { status: answer.statusCode, text: got, json: JSON.parse(got), headers: answer.headers }
}

const task = (id: string, more = {}) => ({
  id,
  model_name: 'iris',
  model_version: '',
  queue_num: 3,
  status: '',
  ...more,
})

test('a task that is posted is pending and reads as the ten inherited keys in their order', async () => {
  const { url } = await recordService()
  const [id] = flightIds(1)
  expect(await send(url, 'POST', '/task', task(id!), { uid: 'u1' })).toMatchObject({
    status: 200,
    json: { id },
  })
  const { json, text } = await send(url, 'GET', `/task/${id}`)
  expect(Object.keys(json)).toEqual([
    'id',
    'model_name',
    'model_version',
    'status',
    'running_time',
    'error_info',
    'created_at',
    'outputs',
    'queue_num',
    'queue_id',
  ])
  expect(json).toMatchObject({ id, model_name: 'iris', status: 'pending', outputs: null, queue_num: 3 })
  expect(text).not.toContain('u1')
})

test('the same task posted again is left as it is; another model under its id is a conflict', async () => {
  const { url } = await recordService()
  await send(url, 'POST', '/task', task('t1'))
  await send(url, 'PUT', '/task', { id: 't1', status: 'running' })
  expect(await send(url, 'POST', '/task', task('t1'))).toMatchObject({ status: 200, json: { id: 't1' } })
  expect((await send(url, 'GET', '/task/t1')).json.status).toBe('running')
  expect(await send(url, 'POST', '/task', task('t1', { model_name: 'other' }))).toMatchObject({ status: 409 })
})

test('transitions: pending to any, running to terminal, everything else is ignored with the stored record', async () => {
  const { url } = await recordService()
  const put = async (body: object) => (await send(url, 'PUT', '/task', { id: 't', ...body })).json
  await send(url, 'POST', '/task', task('t', { status: 'running' }))
  expect(await put({ status: 'pending', error_info: 'ignored' })).toMatchObject({
    status: 'running',
    error_info: '',
  })
  expect(await put({ running_time: '0.5s', status: null, outputs: null })).toMatchObject({
    status: 'running',
    running_time: '0.5s',
  })
  expect(await put({ status: 'succeeded', outputs: { y: 1 } })).toMatchObject({
    status: 'succeeded',
    outputs: { y: 1 },
  })
  const frozen = await put({ status: 'failed', outputs: { y: 2 }, error_info: 'late', running_time: '9s' })
  expect(frozen).toMatchObject({
    status: 'succeeded',
    outputs: { y: 1 },
    error_info: '',
    running_time: '0.5s',
  })
  expect(await put({ queue_id: 'q1' })).toMatchObject({ queue_id: 'q1' })
  expect(await put({ queue_id: 'q2' })).toMatchObject({ queue_id: 'q1' })
})

test('outputs come back digit for digit', async () => {
  const { url } = await recordService()
  await send(url, 'POST', '/task', task('t'))
  const body = '{"id":"t","status":"succeeded","outputs":{"n":12345678901234567890,"f":1.50,"e":1E400}}'
  expect((await send(url, 'PUT', '/task', body)).text).toContain(
    '"outputs":{"n":12345678901234567890,"f":1.50,"e":1E400}',
  )
})

test('a change from outside ends a prediction of ours, and the late result of its call changes nothing', async () => {
  const { url, store } = await recordService()
  const [id] = await admitted(store)
  const token = await taken(store, id!)
  expect((await send(url, 'PUT', '/task', { id, status: 'failed', error_info: 'by hand' })).json.status).toBe(
    'failed',
  )
  expect(await store.transition(id!, 'succeeded', { outputs: '1' }, token)).toMatchObject({ changed: false })
  const bodies = []
  for (let [row] = await store.outboxNext([id!]); row; [row] = await store.outboxNext([id!])) {
    bodies.push(JSON.parse(row.body).task.status)
    await store.outboxDone(row.seq)
  }
  expect(bodies).toEqual(['pending', 'running', 'failed'])
})

test('tasks of others are in no queue of ours', async () => {
  const { url, store } = await recordService()
  await send(url, 'POST', '/task', task('t'))
  expect(await store.count('critical')).toEqual({ waiting: 0, running: 0 })
  expect(await store.deletePending('critical')).toEqual({ deleted: 0, pending: 0, flights: [] })
})

test('a body that is too long keeps no connection open, a question either', async () => {
  const { url } = await recordService()
  const port = Number(new URL(url).port)
  for (const asked of ['GET /task/modelstatus', 'POST /task', 'GET /task/x']) await flood(port, asked)
  expect((await send(url, 'GET', '/live')).status).toBe(200)
})

test('modelstatus answers from a GET body or from the query, newest first', async () => {
  const { url } = await recordService()
  for (const id of ['a', 'b', 'c']) await send(url, 'POST', '/task', task(id), { uid: `user-${id}` })
  await send(url, 'PUT', '/task', { id: 'b', status: 'succeeded', running_time: '1.25s' })
  const asked = { model_name: 'iris', status: 'succeeded' }
  for (const answer of [
    await send(url, 'GET', '/task/modelstatus', asked),
    await send(url, 'GET', '/task/modelstatus?model_name=iris&status=succeeded'),
  ]) {
    expect(answer).toMatchObject({ status: 200 })
    expect(answer.json).toEqual([
      {
        id: expect.any(Number),
        task_id: 'b',
        user_id: 'user-b',
        model_name: 'iris',
        created_at: expect.any(String),
        updated_at: expect.any(String),
        running_time: 1.25,
        status: 'succeeded',
      },
    ])
  }
  const pending = await send(url, 'GET', '/task/modelstatus', { model_name: 'iris', status: 'pending' })
  expect(pending.json.map((row: { task_id: string }) => row.task_id)).toEqual(['c', 'a'])
  expect(pending.json[0].running_time).toBeNull()
  expect((await send(url, 'GET', '/task/modelstatus?model_name=other&status=failed')).json).toEqual([])
})

test.each([
  ['POST', '/task', 'not json', 400],
  ['POST', '/task', '[]', 400],
  ['POST', '/task', { model_name: 'm' }, 400],
  ['POST', '/task', { id: 'x' }, 400],
  ['POST', '/task', { id: 'x', model_name: '' }, 400],
  ['POST', '/task', { id: 'x', model_name: 'm', status: 'succeeded' }, 400],
  ['POST', '/task', { id: 'x', model_name: 'm', queue_num: 'three' }, 400],
  ['PUT', '/task', { id: 'x', status: 'finished' }, 400],
  ['PUT', '/task', { status: 'failed' }, 400],
  ['PUT', '/task', { id: 'absent', status: 'failed' }, 404],
  ['PUT', '/task', `{"id":"x","outputs":"${'y'.repeat(1024 * 1024)}"}`, 413],
  ['GET', '/task/absent', undefined, 404],
  ['GET', '/task/modelstatus', { model_name: 'm' }, 400],
  ['GET', '/task/modelstatus', { model_name: 'm', status: 'odd' }, 400],
  ['GET', '/nowhere', undefined, 404],
] as const)(
  '%s %s with %j is answered %i with a JSON error, and nothing is written',
  async (method, path, body, status) => {
    const { url, store, unexpected } = await recordService()
    const answer = await send(url, method, path, body)
    expect(answer).toMatchObject({ status, json: { error: expect.any(String) } })
    expect((await store.list({ limit: 1 })).items).toEqual([])
    expect(unexpected).toEqual([])
  },
)

test('an expired task updated in the database only is no error', async () => {
  const { url } = await recordService()
  const change = { id: 'gone', status: 'failed', database_only: true }
  expect(await send(url, 'PUT', '/task', change)).toMatchObject({ status: 200, json: { id: 'gone' } })
})

test('with a key set, callers must send it; health stays open', async () => {
  const { url } = await recordService({ apiKey: 'k3y' })
  const refused = async (headers: object) => (await send(url, 'POST', '/task', task('t'), headers)).json.error
  expect(await refused({})).toBe('authorization header is not provided')
  expect(await refused({ apikey: 'two words' })).toBe('invalid authorization header format')
  expect(await refused({ apikey: 'wrong' })).toBe('no permission')
  for (const [method, path] of [
    ['PUT', '/task'],
    ['GET', '/task/t'],
    ['GET', '/task/modelstatus'],
    ['POST', '/upload'],
    ['POST', '/upload_batch'],
  ] as const) {
    expect((await send(url, method, path)).status, path).toBe(401)
  }
  expect((await send(url, 'POST', '/task', task('t'), { apikey: 'k3y' })).status).toBe(200)
  for (const path of ['/live', '/ready']) {
    expect(await send(url, 'GET', path)).toMatchObject({ status: 200, json: { message: 'API OK' } })
  }
})

test('with the store away, readiness and requests answer 503 and say when to come back', async () => {
  const { url, store } = await recordService()
  await store.close()
  for (const path of ['/ready', '/task/t']) {
    expect(await send(url, 'GET', path)).toMatchObject({
      status: 503,
      json: { code: 'store_unavailable' },
      headers: { 'retry-after': '1' },
    })
  }
  expect((await send(url, 'GET', '/live')).status).toBe(200)
})
